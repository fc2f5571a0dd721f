"""Rates of arms, differences between them, and Holm's correction over named contrasts."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from cwac.statistics.bootstrap import (
    RESAMPLES,
    hierarchical_bootstrap,
    percentiles,
    two_sided,
    widened,
)
from cwac.statistics.results import Contrast, Difference, Outcomes, Rate
from cwac.statistics.runs import paired_difference, score_interval


def rate(outcomes: Outcomes, *, draws: np.ndarray | None = None) -> Rate:
    """Return an arm's rate: Wilson's interval for one seed, the bootstrap's for several."""
    value, n, seeds = outcomes.rate, len(outcomes.requests), len(outcomes.seeds)
    # No resample differs when all outcomes agree; Wilson on the requests of one seed says then
    # what little is known.
    if seeds == 1 or value in (0.0, 1.0):
        return Rate(value, *score_interval(value, n), n, seeds, "wilson")
    if draws is None:
        draws = hierarchical_bootstrap({"": outcomes})[""]
    low, high = percentiles(rate_draws(outcomes, draws))
    return Rate(value, max(low, 0.0), min(high, 1.0), n, seeds, "bootstrap")


def rates(
    arms: Mapping[str, Outcomes], draws: Mapping[str, np.ndarray] | None = None
) -> dict[str, Rate]:
    """Return each arm's rate, as `rate` gives it: those with the same requests share their draws.

    Parameters
    ----------
    draws : mapping, optional
        From `draws_of`, where they are at hand already.
    """
    mine = draws_of(arms) if draws is None else draws
    return {name: rate(outcomes, draws=mine.get(name)) for name, outcomes in arms.items()}


def draws_of(arms: Mapping[str, Outcomes]) -> dict[str, np.ndarray]:
    """Return the resampled means of the arms of several seeds: no other interval is made of them.

    They take nearly all of the time that rates and differences take.
    """
    return hierarchical_bootstrap({name: o for name, o in arms.items() if len(o.seeds) > 1})


def difference(
    first: Outcomes,
    second: Outcomes,
    *,
    draws: tuple[np.ndarray | None, np.ndarray | None] = (None, None),
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Difference:
    """Compare two arms, first minus second.

    Seeds that both arms have are compared, all of both where they share none. One shared seed on
    the same requests is a pair of runs: Newcombe's interval and the exact McNemar test, unless
    requests count with shares, which are resampled.

    Parameters
    ----------
    draws : pair of ndarray, optional
        The two arms' own, from `draws_of`; used where all their seeds are compared.
    """
    common = [s for s in first.seeds if s in second.seeds]
    if common and not len(common) == len(first.seeds) == len(second.seeds):
        draws = (None, None)
    if common:
        first, second = first.of_seeds(common), second.of_seeds(common)
    same_requests = first.requests == second.requests
    seeds = min(len(first.seeds), len(second.seeds))
    if len(common) == 1 and same_requests and first.yes_or_no and second.yes_or_no:
        return paired_difference(first.values[0], second.values[0])
    value = first.rate - second.rate
    n = min(len(first.requests), len(second.requests))
    if first.rate in (0.0, 1.0) and second.rate in (0.0, 1.0):
        return _certain(value, n, seeds)
    drawn = tuple(each for each in draws if each is not None)
    gaps = gap_draws(
        first, second, paired=bool(common), draws=drawn, resamples=resamples, seed=seed
    )
    low, high = percentiles(gaps)
    p = two_sided(gaps)
    return Difference(value, max(low, -1.0), min(high, 1.0), p, n, seeds, "bootstrap")


def rate_draws(outcomes: Outcomes, draws: np.ndarray) -> np.ndarray:
    """Stretch an arm's draws as its few seeds ask for; one seed's draws stay."""
    seeds = len(outcomes.seeds)
    if seeds < 2:
        return draws
    between = float(outcomes.values.mean(1).var(ddof=1)) / seeds
    return widened(draws, outcomes.rate, between, seeds)


def gap_draws(
    first: Outcomes,
    second: Outcomes,
    *,
    paired: bool,
    draws: tuple[np.ndarray, ...] = (),
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> np.ndarray:
    """Return resampled differences of two arms' rates, stretched as their few seeds ask for.

    `paired` says that the two have the same seeds; `draws` are both arms', where known.
    """
    if len(draws) < 2:
        arms = {"a": first, "b": second}
        draws = tuple(hierarchical_bootstrap(arms, resamples=resamples, seed=seed).values())
    between = _seed_variance(first, second, paired=paired)
    seeds = min(len(first.seeds), len(second.seeds))
    return widened(draws[0] - draws[1], first.rate - second.rate, between, seeds)


def _seed_variance(first: Outcomes, second: Outcomes, *, paired: bool) -> float:
    """Variance of the difference of two arms' means that comes from their seeds."""
    one, two = first.values.mean(1), second.values.mean(1)
    parts = [one - two] if paired else [one, two]
    return sum(float(part.var(ddof=1)) / len(part) for part in parts if len(part) > 1)


def _certain(value: float, n: int, seeds: int) -> Difference:
    """Both arms give one outcome throughout: no resample differs, but the exact test is at hand.

    Interval and p are those of a pair of runs on the same requests: further seeds that say the
    same are not counted as further requests.
    """
    ones = np.ones(n, dtype=bool)
    pair = paired_difference(ones if value > 0 else ~ones, ones if value < 0 else ~ones)
    return replace(pair, value=value, seeds=seeds)


def compare(
    arms: Mapping[str, Outcomes], contrasts: Sequence[tuple[str, str]]
) -> tuple[Contrast, ...]:
    """Return named contrasts between arms, with Holm's correction over all of them."""
    differences = [difference(arms[first], arms[second]) for first, second in contrasts]
    corrected = holm([entry.p for entry in differences])
    return tuple(
        Contrast(first, second, entry, p)
        for (first, second), entry, p in zip(contrasts, differences, corrected, strict=True)
    )


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Return Holm-adjusted p-values in the given order (Holm 1979)."""
    order = np.argsort(p_values, kind="stable")
    count = len(p_values)
    scaled = np.asarray(p_values, dtype=float)[order] * (count - np.arange(count))
    adjusted = np.empty(count)
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return tuple(float(p) for p in adjusted)
