"""The 2 x 2 interaction of two halves: they reinforce each other, or do the same work twice."""

from dataclasses import dataclass

import numpy as np

from cwac.errors import DataError
from cwac.statistics.bootstrap import (
    RESAMPLES,
    hierarchical_bootstrap,
    percentiles,
    two_sided,
    widened,
)
from cwac.statistics.results import Interval, Outcomes


@dataclass(frozen=True)
class Interaction:
    """An interaction of two halves of a method.

    Attributes
    ----------
    value : float
        ``L(both) - L(first) - L(second) + L(neither)`` with L the logit of a rate, in nats.
        Where a low rate is good: below 0 the halves reinforce each other, at 0 their odds ratios
        multiply, above 0 they overlap.
    low, high, p : float
        95 % interval and two-sided p over seeds, then requests.
    points : float
        The same contrast of the rates themselves, a fraction.
    points_low, points_high : float
        Its interval.
    n, seeds : int
        Prompts and seeds that all four arms share.
    saturated : tuple of str
        Arms whose rate is exactly 0 or 1: their logit is what the correction makes of it.
    """

    value: float
    low: float
    high: float
    p: float
    points: float
    points_low: float
    points_high: float
    n: int
    seeds: int
    saturated: tuple[str, ...]


def logit(rates: np.ndarray, n: int) -> np.ndarray:
    """Return log-odds in nats of rates over `n` requests, each with half a success more either way.

    The correction (Haldane 1956, Anscombe 1956) keeps a rate of 0 or 1 finite.

    Examples
    --------
    >>> float(logit(np.array(0.5), 10))
    0.0
    """
    return np.asarray(np.log((rates * n + 0.5) / ((1 - rates) * n + 0.5)))


def interaction(
    neither: Outcomes,
    first: Outcomes,
    second: Outcomes,
    both: Outcomes,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interaction:
    """Return the interaction of two halves on the logit scale, with its interval.

    Only seeds and requests that all four arms have are used, so that every draw resamples the
    same seeds and requests in each of the four cells. The interval is stretched as Student's t
    asks for few seeds; with one seed it says nothing about training noise.

    Raises
    ------
    DataError
        The four arms share no seed or no request.
    """
    arms = _common({"neither": neither, "first": first, "second": second, "both": both})
    n, seeds = len(arms["both"].requests), len(arms["both"].seeds)
    draws = hierarchical_bootstrap(arms, resamples=resamples, seed=seed)
    means = {name: np.asarray(arm.rate) for name, arm in arms.items()}
    by_seed = {name: arm.values.mean(axis=1) for name, arm in arms.items()}
    logits, points = [], []
    for rates in (means, by_seed, draws):
        logits.append(_contrast({name: logit(value, n) for name, value in rates.items()}))
        points.append(_contrast(rates))
    value, ends, p = _summary(*logits, seeds=seeds)
    share, share_ends, _ = _summary(*points, seeds=seeds)
    saturated = tuple(name for name, rate in means.items() if rate in (0.0, 1.0))
    return Interaction(value, *ends, p, share, *share_ends, n, seeds, saturated)


def _contrast(cells: dict[str, np.ndarray]) -> np.ndarray:
    return np.asarray(cells["both"] - cells["first"] - cells["second"] + cells["neither"])


def _summary(
    mean: np.ndarray, by_seed: np.ndarray, draws: np.ndarray, *, seeds: int
) -> tuple[float, Interval, float]:
    value = float(mean)
    between = float(by_seed.var(ddof=1)) / seeds if seeds > 1 else 0.0
    wide = widened(draws, value, between, seeds)
    return value, percentiles(wide), two_sided(wide)


def _common(arms: dict[str, Outcomes]) -> dict[str, Outcomes]:
    first = next(iter(arms.values()))
    seeds = [s for s in first.seeds if all(s in arm.seeds for arm in arms.values())]
    held = [set(arm.requests) for arm in arms.values()]
    requests = tuple(name for name in first.requests if all(name in names for names in held))
    if not seeds or not requests:
        raise DataError(
            f"the four arms of an interaction share {len(seeds)} seeds and {len(requests)} "
            "requests; at least one of each is needed."
        )
    common = {}
    for name, arm in arms.items():
        paired = arm.of_seeds(seeds)
        place = {request: column for column, request in enumerate(paired.requests)}
        columns = [place[request] for request in requests]
        common[name] = Outcomes(paired.values[:, columns], tuple(seeds), requests)
    return common
