"""The networks that are trained, quantized and run on the device.

In: a name (`build.STUDENTS`). Out: a `base.Student`, which gives logits and the decoder maps that
teachers shape. Imports torch and timm; imported by everything that trains or exports.
"""
