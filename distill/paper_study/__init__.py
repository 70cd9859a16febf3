"""The table of Polyp-DiFoM (arXiv 2512.09307): students by numbers of foundation models.

In: a `cells.PaperStudy`. Out: a folder with one run for each cell, their evaluations by both
protocols, and the table beside the published figures. A stopped study is continued.
"""
