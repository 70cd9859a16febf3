"""Teachers' maps, computed once, kept on disk in fp16, standardized when they are read.

In: a teacher and an image store. Out: `maps.TeacherCache`, indexed by the rows of the store.
Several processes may fill one cache. Imported by `distill.data` and benchmarks.
"""
