"""From a quantized run to a bundle: engines, golden frames, accuracy, parity, cards.

In: a run folder. Out: `edge.bundle.reader.Bundle` on disk. Imported by the shell alone.
"""
