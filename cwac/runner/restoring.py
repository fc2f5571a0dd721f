"""One request with each part of a run's update put back alone: which of them flips it."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from cwac.anatomy import SMALL
from cwac.config import ExperimentConfig
from cwac.first_token import refusal_log_odds
from cwac.interventions._asking import Weights, holding
from cwac.interventions._parts import equal_norm, parts_of
from cwac.interventions.restore import Restore
from cwac.messages import RestoredPart
from cwac.models.loading import LoadedModel

EVERYTHING = "everything"
"""The part that is the whole update."""


@dataclass(frozen=True)
class _Update:
    """What `cwac.interfaces.Update` asks for."""

    config: ExperimentConfig
    model: nn.Module
    aligned: Mapping[str, Tensor]
    tuned: Mapping[str, Tensor]
    kept: dict[Hashable, Any] = field(default_factory=dict)


def restored_parts(
    loaded: LoadedModel,
    model: nn.Module,
    config: ExperimentConfig,
    prompt: str,
    tokens: Sequence[int],
) -> tuple[RestoredPart, ...]:
    """Return a request's refusal log-odds with each part of a tuned model restored alone.

    Parameters
    ----------
    loaded : LoadedModel
        The aligned model.
    model : Module
        The tuned one; it holds its own weights afterwards.
    config : ExperimentConfig
        The run's, whose seed draws the random sets: the same ones as for *restore*.
    prompt : str
        The request as the run's method puts it to its model.
    tokens : sequence of int
        What refusals begin with.

    Returns
    -------
    From the input to the output, the whole update last. A wide model has no random sets beside
    its parts: drawing one takes longer than all passes.
    """
    update = _Update(
        config,
        model,
        {name: value.detach() for name, value in loaded.model.named_parameters()},
        {name: value.detach().clone() for name, value in model.named_parameters()},
    )

    def odds(weights: Weights) -> float:
        with holding(update, weights):
            return float(refusal_log_odds(model, loaded.chat, [prompt], tokens)[0])

    has_control = loaded.anatomy.d_model <= SMALL
    rows = [
        RestoredPart(
            part=part.name,
            layer=part.layer,
            refusal_log_odds=odds({name: update.aligned[name] for name in part.parameters}),
            control=odds(equal_norm(update, part, Restore.name, restored=True))
            if has_control
            else None,
        )
        for part in parts_of(loaded.anatomy, update.tuned, "layer")
    ]
    whole = RestoredPart(part=EVERYTHING, refusal_log_odds=odds(update.aligned))
    return (*rows, whole)
