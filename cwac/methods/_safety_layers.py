"""Which decoder layers carry safety: the localisation of Safety Layers (arXiv 2408.17003).

First where the last prompt token begins to tell harmful from harmless requests, by angles; then
the bounds of that range are moved to where scaling its weights changes refusals of look-alike
requests the most.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import torch
from torch import Tensor, nn

from cwac.errors import DataError
from cwac.features import scored_residuals
from cwac.generation import first_token_log_probs, refusal_tokens
from cwac.interfaces import MethodContext
from cwac.methods._harmful import demonstrations, evaluating, stream

PAIRS: Final = 500
"""Random pairs of requests that an angle is averaged over (r in the paper)."""
RISING: Final = 0.1
"""A layer adds to the gap if it adds this share of the largest gap; the paper reads by eye."""
Range = tuple[int, int]
"""First and last decoder layer, both included."""


def layer_parameters(
    context: MethodContext, layers: Sequence[int]
) -> list[tuple[str, nn.Parameter]]:
    """Return attention and MLP parameters of some layers by name; norms are not among them."""
    owners = {
        f"{context.anatomy.layers_path}.{found.layer}.{found.name.split('.')[0]}."
        for found in context.anatomy.maps
        if found.layer in layers
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
        raise DataError(f"the method {method!r} needs two harmless safety prompts or more.")
    n_layers = context.anatomy.n_layers
    start = rising_range(angle_gaps(context, texts["harmless"], texts["harmful"]).tolist())
    if start[1] - start[0] + 1 == n_layers:
        start = (start[0], n_layers - 2)
    asked = texts["lookalike"]
    if not asked:
        return start
    signs = refusal_tokens(context.chat, [e.answer for e in demonstrations(context, method)])

    def gain(tried: Range) -> float:
        count = expected_refusals(context, asked, signs, tried, scale)
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
    parts = [
        torch.stack([found[layer][:, -1] for layer in layers])
        for found in scored_residuals(context.model, context.anatomy, context.chat, texts, layers)
    ]
    return torch.cat(parts, dim=1).double().cpu()


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
