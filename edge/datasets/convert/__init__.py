"""Convert annotations of other tools into images/ and masks/, or boxes into boxes.json.

`read_annotations` finds the format and reads it; `write_folder` draws and writes what was read.
Every label counts as polyp unless some are chosen.
"""
