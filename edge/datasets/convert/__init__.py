"""Convert annotations of other tools into images/ and masks/, or boxes into boxes.json.

In: a folder and its annotations. `read_annotations` finds the format and reads it; every label
counts as polyp unless some are chosen. Out: a data folder, drawn and written by `write_folder`.
Imported by the shell, training and benchmarks.
"""
