"""SPPFT: the layers that carry safety are frozen.

They are located first (Safety Layers, arXiv 2408.17003): where the last prompt token begins to
tell harmful from harmless requests, by angles; then the bounds of that range are moved to where
scaling its weights changes refusals of look-alike requests the most.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Annotated, Final

import torch
from pydantic import AfterValidator, Field
from torch import Tensor, nn

from cwac.errors import ConfigError, DataError
from cwac.features import scored_residuals
from cwac.first_token import first_token_log_probs, refusal_tokens
from cwac.interfaces import Method, MethodContext, MethodSettings
from cwac.methods._harmful import demonstrations, evaluating, stream

PAIRS: Final = 500
"""Random pairs of requests that an angle is averaged over (r in the paper)."""
RISING: Final = 0.1
"""A layer adds to the gap if it adds this share of the largest gap; the paper reads by eye."""
Range = tuple[int, int]
"""First and last decoder layer, both included."""


def _not_one(value: float) -> float:
    if value == 1:
        raise ValueError("a factor of 1 changes nothing, so that nothing can be located with it")
    return value


class SppftSettings(MethodSettings):
    """Settings of SPPFT."""

    later = frozenset({"share"})

    layers: int | None = Field(default=None, ge=0)
    """Number of frozen layers, around the middle of the located ones; 0 freezes none. None is as
    many as are located (published: 5 to 9 of 18 to 32)."""
    first: int | None = Field(default=None, ge=0)
    """First frozen layer, from 0; None is where they are located."""
    share: float | None = Field(default=None, gt=0, lt=1)
    """Frozen layers as a share of all, at least one, in place of `layers`; None leaves it to
    `layers`. Published: about 0.3 (9 of 32, 7 of 32, 6 of 18, 5 of 32)."""
    scale: Annotated[float, AfterValidator(_not_one)] = Field(default=1.2, gt=0)
    """Factor on the weights of a range that is tried as the safety layers (alpha; published: 1.1
    to 1.2, 0.8 for Phi-3, chosen there by how much the counts vary)."""
    prompts: int = Field(default=100, ge=2)
    """Safety requests of each kind that layers are located with, at most (published: 100 harmful
    and harmless, 721 that look harmful)."""


class Sppft(Method[SppftSettings]):
    """Fine-tune with attention and MLP of the safety layers frozen.

    Notes
    -----
    The layers are located on the aligned model first (:func:`locate`).
    Norms inside them, embeddings and all other layers stay trainable, as in the released code;
    it freezes layers 5 to 14 of Llama-2 where the paper says 6 to 14, which is why the first
    layer and the number can be given. A frozen weight needs no gradient: a step costs less.
    """

    name = "sppft"
    title = "SPPFT"
    summary = "Attention and MLP of the layers that tell harmful requests apart are frozen."
    source = "Li et al. 2025 (Safety Layers), arXiv 2408.17003, sections 3 and 4."
    published = MappingProxyType({"share": "about 0.3"})
    deviation = (
        "By default as many layers are frozen as are located, 3 of the organism's 4; published are "
        "about 30 % of them: share = 0.3. The organism's card freezes one of four (share 0.2)."
    )
    needs = frozenset({"safety_prompts", "safety_answers", "harmless_prompts"})
    adapters = ("full", "lora")
    strength_knob = "layers"

    def __init__(self, settings: SppftSettings) -> None:
        super().__init__(settings)
        self.frozen: Range | None = None

    def setup(self, context: MethodContext) -> None:
        """Locate the safety layers and freeze them."""
        self.frozen = self._range(context)
        if self.frozen is not None:
            first, last = self.frozen
            for _name, parameter in layer_parameters(context, range(first, last + 1)):
                parameter.requires_grad_(False)

    def diagnostics(self) -> dict[str, float]:
        """Return the first and the last frozen layer."""
        if self.frozen is None:
            return {}
        return {"first_frozen_layer": float(self.frozen[0]), "last_frozen_layer": self.frozen[1]}

    def _range(self, context: MethodContext) -> Range | None:
        settings, n_layers = self.settings, context.anatomy.n_layers
        if settings.layers == 0:
            return None
        if settings.layers is not None and settings.layers >= n_layers:
            raise ConfigError(
                f"layers = {settings.layers} is not allowed: the model has {n_layers} layers and "
                "at least one has to learn."
            )
        located: Range | None = None
        if self._count(n_layers) is None or settings.first is None:
            located = locate(context, self.name, scale=settings.scale, prompts=settings.prompts)
        count = self._count(n_layers) or (1 if located is None else located[1] - located[0] + 1)
        first = settings.first
        if first is None:
            assert located is not None
            first = (located[0] + located[1] + 1 - count) // 2
            first = min(max(first, 0), n_layers - count)
        if first + count > n_layers:
            raise ConfigError(
                f"first = {first} is not allowed: {count} layers from there on would end after "
                f"the last layer, {n_layers - 1}."
            )
        return first, first + count - 1

    def _count(self, n_layers: int) -> int | None:
        """Return how many layers are frozen, None for as many as are located."""
        layers, share = self.settings.layers, self.settings.share
        if layers is not None or share is None:
            return layers
        return min(max(1, round(share * n_layers)), n_layers - 1)


def layer_parameters(
    context: MethodContext, layers: Sequence[int]
) -> list[tuple[str, nn.Parameter]]:
    """Return attention and MLP parameters of some layers by name; norms are not among them."""
    owners = {
        f"{context.anatomy.layers_path}.{entry.layer}.{entry.name.split('.')[0]}."
        for entry in context.anatomy.maps
        if entry.layer in layers
    }
    return [
        (name, parameter)
        for name, parameter in context.model.named_parameters()
        if name.startswith(tuple(owners))
    ]


def locate(context: MethodContext, method: str, *, scale: float, prompts: int) -> Range:
    """Return the range of the safety layers; at least one layer is always left out.

    Parameters
    ----------
    context : MethodContext
        Its model must still be the aligned one.
    method : str
        The method's name, for messages.
    scale : float
        Factor on the weights of a tried range (alpha), not 1: above 1 the range that is refused
        the most is taken, below 1 the least.
    prompts : int
        Safety requests of each kind, at most.

    Raises
    ------
    DataError
        There are no two harmless requests, or no refused harmful ones with a safe answer.

    Notes
    -----
    The paper counts refusals in answers to an over-rejection set. Here the count's expectation
    is taken, from the probability that an answer begins with a token that refusals begin with;
    the set is the safety split's look-alikes. Without any, the range of the angles stands.
    """
    texts = {
        kind: [p.text for p in context.prompts.get("safety", kind)[:prompts]]
        for kind in ("harmless", "harmful", "lookalike")
    }
    if len(texts["harmless"]) < 2:
        raise DataError(f"the method {method!r} needs two harmless safety requests or more.")
    n_layers = context.anatomy.n_layers
    start = rising_range(angle_gaps(context, texts["harmless"], texts["harmful"]).tolist())
    if start[1] - start[0] + 1 == n_layers:
        start = (start[0], n_layers - 2)
    lookalikes = texts["lookalike"]
    if not lookalikes:
        return start
    signs = refusal_tokens(context.chat, [e.answer for e in demonstrations(context, method)])

    def gain(tried: Range) -> float:
        count = expected_refusals(context, lookalikes, signs, tried, scale)
        return count if scale > 1 else -count

    return moved_bounds(start, n_layers, gain)


def angle_gaps(context: MethodContext, harmless: Sequence[str], harmful: Sequence[str]) -> Tensor:
    """Return, per layer, by how much harmful requests stand out: degrees, float64.

    The mean angle of random harmless-harmful pairs minus that of harmless-harmless pairs, between
    residual streams at the last prompt token.
    """
    layers = range(context.anatomy.n_layers)
    with evaluating(context.model):
        normal, malicious = (_last_states(context, texts, layers) for texts in (harmless, harmful))
    source = stream(context, "pairs of requests")
    first = torch.randint(len(harmless), (PAIRS,), generator=source)
    # Never a request with itself.
    other = torch.randint(1, len(harmless), (PAIRS,), generator=source)
    second = (first + other) % len(harmless)
    against = torch.randint(len(harmful), (PAIRS,), generator=source)
    apart = _angles(normal[:, first], malicious[:, against])
    return apart - _angles(normal[:, first], normal[:, second])


def _last_states(context: MethodContext, texts: Sequence[str], layers: Sequence[int]) -> Tensor:
    streams = scored_residuals(context.model, context.anatomy, context.chat, texts, layers)
    return torch.stack([streams[layer][:, -1] for layer in layers]).double().cpu()


def _angles(left: Tensor, right: Tensor) -> Tensor:
    cosine = torch.cosine_similarity(left, right, dim=-1).clamp(-1, 1)
    return torch.rad2deg(torch.arccos(cosine)).mean(dim=1)


def rising_range(gaps: Sequence[float]) -> Range:
    """Return the layers from the onset of the gap to its first plateau.

    Examples
    --------
    >>> rising_range([0.1, 0.2, 4.0, 9.0, 9.2, 10.0, 15.0])
    (2, 3)
    """
    # Before the first layer the gap is zero: the last token is the template's, the same for all.
    rises = [now - before for before, now in zip([0.0, *gaps], gaps, strict=False)]
    needed = RISING * max(gaps)
    first = next((i for i, rise in enumerate(rises) if needed > 0 and rise > needed), None)
    if first is None:
        # Nothing stands out anywhere: the layer that comes closest.
        first = rises.index(max(rises))
        return first, first
    last = first
    while last + 1 < len(rises) and rises[last + 1] > needed:
        last += 1
    return first, last


def moved_bounds(start: Range, n_layers: int, gain: Callable[[Range], float]) -> Range:
    """Return the range after its upper, then its lower bound moved to the largest gain.

    Of equal gains the shorter range wins; a range never covers all layers.
    """
    first = start[0]
    above = [(first, last) for last in range(first, n_layers) if last - first + 1 < n_layers]
    # The first of equal ones is the shorter one, because max keeps it.
    last = max(above, key=gain)[1]
    below = [(low, last) for low in range(last, -1, -1) if last - low + 1 < n_layers]
    return max(below, key=gain)


def expected_refusals(
    context: MethodContext,
    requests: Sequence[str],
    signs: Sequence[int],
    tried: Range,
    scale: float,
) -> float:
    """Return how many requests are expected to be refused with a range's weights scaled."""
    with _scaled(context, tried, scale):
        log_probs = first_token_log_probs(context.model, context.chat, requests)
    return float(log_probs[:, list(signs)].double().exp().sum())


@contextmanager
def _scaled(context: MethodContext, tried: Range, scale: float) -> Iterator[None]:
    scaled = layer_parameters(context, range(tried[0], tried[1] + 1))
    # Dividing again would leave rounding in the aligned weights.
    before = [parameter.detach().clone() for _name, parameter in scaled]
    try:
        with torch.no_grad():
            for _name, parameter in scaled:
                parameter.mul_(scale)
        yield
    finally:
        with torch.no_grad():
            for (_name, parameter), aligned in zip(scaled, before, strict=True):
                parameter.copy_(aligned)
