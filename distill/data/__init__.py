"""From folders of images to training batches.

In: data folders and a `DistillConfig`. Out: `TrainingData`, whose batches are a function of
(seed, epoch, step). Read in this order: `splits`, `image_store`, `load`, `batches`.
Imported by `distill.train`, `distill.teachers` (the image store) and `quantize`.
"""
