"""The one training loop, on `accelerate`: it knows the hooks of `Method` and no method's name."""

from cwac.training.attacks import attack_pool, attack_share, chosen_for
from cwac.training.course import Course
from cwac.training.data import mix_poison
from cwac.training.loop import StepReport, TrainingResult, fit, learning_rate

__all__ = [
    "Course",
    "StepReport",
    "TrainingResult",
    "attack_pool",
    "attack_share",
    "chosen_for",
    "fit",
    "learning_rate",
    "mix_poison",
]
