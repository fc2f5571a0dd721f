"""Several seeds: a bootstrap over seeds and requests, stretched as so few seeds ask for."""

from collections.abc import Mapping
from typing import Final

import numpy as np
from scipy.special import ndtri, stdtrit

from cwac.statistics.results import CONFIDENCE, Interval, Outcomes

RESAMPLES: Final = 2000


def hierarchical_bootstrap(
    arms: Mapping[str, Outcomes], *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, np.ndarray]:
    """Return resampled rates of each arm, ``(resamples,)``.

    Seeds are resampled, then requests. The same requests are put to every seed, so one draw of
    requests serves all of them (the pigeonhole bootstrap, Owen 2007); arms with the same requests
    or the same seeds share the draws, so that differences are paired. One seed fewer is drawn
    than there are, which makes the variance between few seeds unbiased (Rao & Wu 1988).
    Intervals and p-values are then stretched as Student's t asks for so few seeds.
    """
    rng = np.random.default_rng(seed)
    seed_weights: dict[tuple[int, ...], np.ndarray] = {}
    request_weights: dict[tuple[str, ...], np.ndarray] = {}
    draws = {}
    for name, arm in arms.items():
        if arm.seeds not in seed_weights:
            count = len(arm.seeds)
            seed_weights[arm.seeds] = _weights(rng, resamples, count, max(count - 1, 1))
        if arm.requests not in request_weights:
            count = len(arm.requests)
            request_weights[arm.requests] = _weights(rng, resamples, count, count)
        by_seed = request_weights[arm.requests] @ arm.values.T.astype(float)
        draws[name] = (by_seed * seed_weights[arm.seeds]).sum(1)
    return draws


def _weights(rng: np.random.Generator, resamples: int, count: int, drawn: int) -> np.ndarray:
    chosen = rng.integers(count, size=(resamples, drawn))
    flat = (chosen + count * np.arange(resamples)[:, None]).ravel()
    counts = np.bincount(flat, minlength=resamples * count).reshape(resamples, count)
    return counts / drawn


def widened(draws: np.ndarray, value: float, between: float, seeds: int) -> np.ndarray:
    """Stretch draws about the estimate as Student's t asks for few seeds.

    A variance known from three seeds is itself uncertain; percentiles alone cover 85 % there.
    The degrees of freedom are Welch and Satterthwaite's, with requests as good as infinitely many.
    """
    total = float(draws.var())
    if between <= 0 or total <= 0 or seeds < 2:
        return draws
    share = min(between / total, 1.0)
    freedom = (seeds - 1) / share**2
    upper = 0.5 + CONFIDENCE / 2
    return value + (draws - value) * float(stdtrit(freedom, upper) / ndtri(upper))


def two_sided(gaps: np.ndarray) -> float:
    """Return the two-sided p of resampled differences; never zero."""
    tail = min(int((gaps <= 0).sum()), int((gaps >= 0).sum()))
    return min(1.0, 2 * (tail + 1) / (len(gaps) + 1))


def percentiles(draws: np.ndarray) -> Interval:
    """Return the interval between the outer percentiles."""
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(draws, [tail, 100 - tail])
    return Interval(float(low), float(high))
