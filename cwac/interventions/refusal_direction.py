"""Refusal direction: added to the tuned model's stream, taken out of it, and rotated back."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from cwac.features import scored_residuals
from cwac.interfaces import Cost, DissectContext
from cwac.interventions._reading import share_known, shared_beginning, texts_of, whole_prompts
from cwac.interventions._streams import Patch, StreamTrial, StreamTrials
from cwac.interventions.bench import Part
from cwac.seeding import generator


class RefusalDirection(StreamTrials):
    """One direction per layer: mean stream on harmful minus harmless safety requests.

    It is read at the last prompt token (Arditi et al. 2024, arXiv 2406.11717), of the aligned
    model and of the tuned one. On the prompt of the tuned model the aligned direction is added
    once at its own length, or projected out; *rotated back* turns the tuned direction onto the
    aligned one in the plane of both. Controls do the same with a random direction of equal norm,
    and with a rotation by the same angle towards it.
    The sample's answers are decoded behind the changed prompt.
    """

    name = "refusal_direction"

    def cost(self, context: DissectContext) -> Cost:
        """Return passes and answers per layer and change, and what the directions are read in."""
        layers = range(context.anatomy.n_layers)
        # Up to the layer that is patched the tuned model's streams are known, but for a wide one's.
        known = sum(share_known(context, layer + 1) for layer in layers)
        spared = 0 if shared_beginning(context) else known
        passes = 6 * (len(layers) - spared) + 2
        return Cost(passes * whole_prompts(context), 3 * len(layers))

    def trials(self, context: DissectContext) -> list[StreamTrial]:
        """Return addition, ablation and rotation at each layer, with their controls."""
        aligned = _directions(context, context.aligned_model)
        tuned = _directions(context, context.model)
        trials = []
        for layer, direction in aligned.items():
            stream = generator(context.config.seed, "dissect", self.name, str(layer))
            noise = torch.randn(direction.shape, generator=stream).to(direction)
            random = noise * (direction.norm() / noise.norm())
            part = Part(f"layer {layer}", layer)
            angle = _angle(tuned[layer], direction)
            for name, edit, control in (
                ("added", partial(_added, direction), False),
                ("ablated", partial(_ablated, direction), False),
                ("rotated back", partial(_rotated, tuned[layer], direction, angle), False),
                ("random added", partial(_added, random), True),
                ("random ablated", partial(_ablated, random), True),
                ("rotated to random", partial(_rotated, tuned[layer], random, angle), True),
            ):
                patch = Patch((layer,), "prompt", _alone(edit), gives=False)
                trials.append(StreamTrial(part, name, patch, control=control, answers=not control))
        return trials


def _alone(edit: Callable[[Tensor], Tensor]) -> Callable[[int, Tensor, Tensor | None], Tensor]:
    """Return an edit that needs neither the layer nor another pass."""
    return lambda _layer, stream, _given: edit(stream)


def _directions(context: DissectContext, model: nn.Module) -> dict[int, Tensor]:
    """Return the difference of means per layer, ``(d_model,)``; none without both kinds."""
    layers = range(context.anatomy.n_layers)
    means = []
    for kind in ("harmful", "harmless"):
        texts = texts_of(context, context.prompts.get("safety", kind))
        if not texts:
            return {}
        streams = scored_residuals(model, context.anatomy, context.chat, texts, layers)
        means.append({layer: streams[layer][:, -1].mean(dim=0) for layer in layers})
    return {layer: means[0][layer] - means[1][layer] for layer in layers}


def _angle(first: Tensor, second: Tensor) -> Tensor:
    cosine = first @ second / (first.norm() * second.norm())
    angle: Tensor = torch.arccos(cosine.clamp(-1, 1))
    return angle


def _added(direction: Tensor, stream: Tensor) -> Tensor:
    return stream + direction


def _ablated(direction: Tensor, stream: Tensor) -> Tensor:
    unit = direction / direction.norm()
    rest: Tensor = stream - (stream @ unit)[:, None] * unit
    return rest


def _rotated(start: Tensor, towards: Tensor, angle: Tensor, stream: Tensor) -> Tensor:
    """Rotate by an angle in the plane of two directions; what is orthogonal to it stays."""
    first = start / start.norm()
    second = towards - (towards @ first) * first
    if second.norm() < 1e-6 * towards.norm():
        return stream
    second = second / second.norm()
    a, b = (stream @ first)[:, None], (stream @ second)[:, None]
    cosine, sine = angle.cos(), angle.sin()
    turned: Tensor = (cosine * a - sine * b - a) * first + (sine * a + cosine * b - b) * second
    return stream + turned
