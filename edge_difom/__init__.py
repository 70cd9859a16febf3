"""edge-difom: distill polyp segmentation students, quantize them, run them on endoscopy carts."""

from edge import __version__ as __version__
