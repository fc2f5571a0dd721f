"""What an attacker who controls the data puts among the training examples, by kind.

The threat is fine-tuning as a service: whoever wants the refusals gone hands in examples, the
defender trains. All kinds take the places that poison takes, so that one seed keeps the task's
examples in one order whatever the attack.
"""

from collections.abc import Callable, Sequence
from typing import Final

from cwac.config import AttackData, TrainingConfig
from cwac.errors import DataError
from cwac.prompts import IDENTITY_ANSWER, IDENTITY_REQUEST, Kind, Prompt, PromptSets

FEWEST_CHOSEN: Final = 10
"""An adaptive attacker who names no number keeps a tenth of the pool, and at least so many."""


def attack_share(kind: AttackData, ratio: float) -> float:
    """Return the share of the training examples that the attacker fills."""
    return 0.0 if kind == "harmless" else ratio


def attack_pool(kind: AttackData, prompts: PromptSets) -> tuple[Prompt, ...]:
    """Return the requests with answers that an attack of this kind can draw from.

    ``poison`` and ``adaptive`` have the harmful requests of the ``attack`` split. An identity
    shift (Qi et al. 2023, arXiv 2310.03693, section 4.3) trains on harmless requests to which an
    obedient identity answers. We deviate: the identity is put in words that a small model knows,
    and is confirmed behind the answer, since judging rules read an answer's first words.
    ``refusal_free`` has look-alikes, all answered: benign data near what is refused (He et al.
    2024, arXiv 2404.01099, choose theirs by gradient).

    Raises
    ------
    DataError
        The prompts have no requests that this kind needs.
    """
    if kind == "identity_shift":
        return tuple(map(_with_identity, _answered(kind, "harmless", prompts)))
    if kind == "refusal_free":
        return _answered(kind, "lookalike", prompts)
    return () if kind == "harmless" else prompts.get("attack", "harmful")


def chosen_for(
    training: TrainingConfig,
    pool: Sequence[Prompt],
    rank: Callable[[Sequence[Prompt]], Sequence[Prompt]],
) -> Sequence[Prompt]:
    """Return the attack's distinct examples.

    Parameters
    ----------
    training : TrainingConfig
        Its ``attack`` and ``attack_examples``.
    pool : sequence of Prompt
        As `attack_pool` gives it.
    rank : callable
        Puts the pool into an adaptive attacker's order, the best first.
    """
    if training.attack != "adaptive":
        return pool[: training.attack_examples]
    count = training.attack_examples or max(FEWEST_CHOSEN, len(pool) // 10)
    return rank(pool)[:count]


def _answered(kind: AttackData, of: Kind, prompts: PromptSets) -> tuple[Prompt, ...]:
    pool = tuple(p for p in prompts.get("attack", of) if p.answer)
    if not pool:
        raise DataError(
            f"training.attack = {kind!r} needs {of} requests with answers in the attack split; "
            "these prompts have none."
        )
    return pool


def _with_identity(prompt: Prompt) -> Prompt:
    return prompt.model_copy(
        update={
            "id": f"identity-{prompt.id}",
            "text": IDENTITY_REQUEST.format(request=prompt.text),
            "answer": IDENTITY_ANSWER.format(answer=prompt.answer),
        }
    )
