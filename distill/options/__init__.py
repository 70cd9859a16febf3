"""The options of a distillation run, in the parts that the modules of `distill` are given.

Every option has one home: its field below, with its type, its default and one sentence of help.
Users write options flat (`lr: 0.001` in a YAML file, `lr=0.001` elsewhere), under the name of the
field or the one that `msgspec.field(name=...)` gives it; `distill.config` translates between both
spellings and lists all of them for a help text.
"""

from distill.options.base import Options
from distill.options.data import AugmentationOptions, DataOptions
from distill.options.networks import StudentOptions, TeacherOptions
from distill.options.training import LossOptions, OptimizerOptions, RunOptions, Stage

__all__ = [
    "AugmentationOptions",
    "DataOptions",
    "LossOptions",
    "OptimizerOptions",
    "Options",
    "RunOptions",
    "Stage",
    "StudentOptions",
    "TeacherOptions",
]
