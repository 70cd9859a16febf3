"""A procedural colonoscopy phantom: frames, masks and clips from a seed, with numpy and OpenCV.

In: a seed and a size. Out: images, masks, clips or a data folder. Imported by whatever needs
pictures without data: sources, tests of engines, training, benchmarks and the demo.
"""
