"""Review: people look at kept frames, accept or draw their masks, and a training gets the rest.

In: a folder of marks and stills. Out: decisions beside them, and a data folder with images, masks,
clean frames and their origin. Imported by the shell.
"""
