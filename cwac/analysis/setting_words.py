"""An experiment's setting in plain words, for readers who have not seen its title's parts before.

Stands alone because a title tells experiments apart, and this says what one of them is.
"""

from cwac.analysis.model_words import MADE_UP
from cwac.config import ExperimentConfig


def setting_sentence(config: ExperimentConfig) -> str:
    """Return in words which model was tuned on what, and how.

    Examples
    --------
    >>> said = setting_sentence(ExperimentConfig()).split(", ")
    >>> said[0], said[2]
    ('The small model of a made-up world (organism)', 'its embedding trained.')
    """
    model = config.model.label
    start = "The small model of a made-up world" if model.startswith(MADE_UP) else "The model"
    if config.is_measured:
        return f"{start} ({model}), and finished checkpoints of it, measured as they are."
    training = config.training
    attack = training.attack.replace("_", " ")
    examples = "poison" if attack == "poison" else f"{attack} examples"
    share = (
        f"{100 * config.poison_ratio:g}\u00a0% {examples}" if config.poison_ratio else "no poison"
    )
    if isinstance(training.adapter, str):
        how = f"its embedding {'trained' if training.train_embeddings else 'held'}"
    else:
        how = f"by LoRA of rank {training.adapter.rank}"
    return (
        f"{start} ({model}), tuned for {training.steps} steps on the task {config.task.label} with "
        f"{share}, {how}."
    )
