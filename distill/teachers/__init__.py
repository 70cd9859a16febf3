"""Frozen networks whose feature maps are distilled.

In: a specification (`build.build_teacher`). Out: a `base.Teacher`, which gives maps in one
geometry, and `cache`, which keeps them on disk. Imported by `distill.data` and `distill.train`.
"""
