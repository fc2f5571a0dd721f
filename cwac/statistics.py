"""Intervals and tests for rates: Wilson, exact McNemar, hierarchical bootstrap, Holm.

One run: Wilson's interval, and Newcombe's interval with the exact McNemar test for two runs on
the same prompts. Several seeds: a bootstrap that resamples seeds and prompts, because responses
of one seed are not independent of each other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np
from scipy.special import bdtr, ndtri, stdtrit

from cwac.errors import DataError

RESAMPLES: Final = 2000
CONFIDENCE: Final = 0.95


class Interval(NamedTuple):
    """Lower and upper end of a confidence interval."""

    low: float
    high: float


@dataclass(frozen=True)
class Outcomes:
    """Yes/no outcomes of an arm: the same prompts under each of its seeds.

    Attributes
    ----------
    values : ndarray
        Boolean ``(seeds, prompts)``.
    seeds : tuple of int
    prompts : tuple of str
        Identifiers in column order; arms with equal ones are compared prompt by prompt.

    Raises
    ------
    DataError
        The shape does not fit, or there is nothing in it.
    """

    values: np.ndarray
    seeds: tuple[int, ...]
    prompts: tuple[str, ...]

    def __post_init__(self) -> None:
        expected = (len(self.seeds), len(self.prompts))
        if self.values.shape != expected or 0 in expected:
            raise DataError(
                f"outcomes of shape {self.values.shape} do not fit {expected[0]} seeds x "
                f"{expected[1]} prompts, at least one of each."
            )

    @property
    def rate(self) -> float:
        """Mean over seeds and prompts."""
        return float(self.values.mean())

    def of_seeds(self, seeds: Sequence[int]) -> "Outcomes":
        """Return the rows of some seeds."""
        rows = [self.seeds.index(seed) for seed in seeds]
        return Outcomes(self.values[rows], tuple(seeds), self.prompts)


@dataclass(frozen=True)
class Rate:
    """An arm's rate with its interval."""

    value: float
    low: float
    high: float
    n: int
    """Prompts."""
    seeds: int
    method: Literal["wilson", "bootstrap"]


@dataclass(frozen=True)
class Difference:
    """A difference between two arms' rates, first minus second."""

    value: float
    low: float
    high: float
    p: float
    n: int
    seeds: int
    method: Literal["mcnemar", "bootstrap"]


@dataclass(frozen=True)
class Contrast:
    """A named comparison with its p-value corrected for the family it belongs to."""

    first: str
    second: str
    difference: Difference
    p_holm: float


def wilson(successes: int, n: int, confidence: float = CONFIDENCE) -> Interval:
    """Return Wilson's score interval of a rate; [0, 1] when nothing was observed.

    Raises
    ------
    DataError
        `successes` does not lie between 0 and `n`.
    """
    if not 0 <= successes <= n:
        raise DataError(f"{successes} successes of {n} are not possible.")
    return _wilson(successes / n, n, confidence) if n else Interval(0.0, 1.0)


def _wilson(rate: float, n: int, confidence: float = CONFIDENCE) -> Interval:
    z = float(ndtri(0.5 + confidence / 2))
    centre = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * float(np.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n)))
    # At 0 and 1 the end is exact; rounding would put it a hair inside.
    low = 0.0 if rate == 0 else max(centre - half, 0.0)
    return Interval(low, 1.0 if rate == 1 else min(centre + half, 1.0))


def mcnemar_exact(b: int, c: int) -> float:
    """Return the two-sided p of the exact McNemar test on the discordant counts.

    Raises
    ------
    DataError
        A count is negative.
    """
    if b < 0 or c < 0:
        raise DataError(f"discordant counts must not be negative, not {b} and {c}.")
    if b + c == 0:
        return 1.0
    return min(1.0, 2 * float(bdtr(min(b, c), b + c, 0.5)))


def paired_difference(first: np.ndarray, second: np.ndarray) -> Difference:
    """Compare two runs on the same prompts.

    The interval is Newcombe's hybrid score interval (1998, method 10), the p-value that of the
    exact McNemar test.

    Parameters
    ----------
    first, second : ndarray
        Boolean ``(prompts,)``.

    Raises
    ------
    DataError
        The lengths differ or are zero.
    """
    if first.shape != second.shape or first.ndim != 1 or not len(first):
        raise DataError(
            f"paired outcomes need one value per prompt each, not shapes {first.shape} and "
            f"{second.shape}."
        )
    one, two = first.astype(bool), second.astype(bool)
    both, neither = int((one & two).sum()), int((~one & ~two).sum())
    b, c = int((one & ~two).sum()), int((~one & two).sum())
    n = len(one)
    rate_1, rate_2 = (both + b) / n, (both + c) / n
    low_1, high_1 = _wilson(rate_1, n)
    low_2, high_2 = _wilson(rate_2, n)
    phi = _phi(both, b, c, neither)
    below = _hybrid(rate_1 - low_1, high_2 - rate_2, phi)
    above = _hybrid(high_1 - rate_1, rate_2 - low_2, phi)
    value = rate_1 - rate_2
    low, high = max(value - below, -1.0), min(value + above, 1.0)
    return Difference(value, low, high, mcnemar_exact(b, c), n, 1, "mcnemar")


def _phi(both: int, b: int, c: int, neither: int) -> float:
    product = float((both + b) * (c + neither) * (both + c) * (b + neither))
    if product == 0:
        return 0.0
    cross = float(both * neither - b * c)
    # Newcombe's continuity correction applies to positive association only.
    if cross > 0:
        cross = max(cross - (both + b + c + neither) / 2, 0.0)
    return float(cross / np.sqrt(product))


def _hybrid(one: float, two: float, phi: float) -> float:
    return float(np.sqrt(max(one * one - 2 * phi * one * two + two * two, 0.0)))


def hierarchical_bootstrap(
    arms: Mapping[str, Outcomes], *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, np.ndarray]:
    """Return resampled rates of each arm, ``(resamples,)``.

    Seeds are resampled, then prompts. The same prompts are put to every seed, so one draw of
    prompts serves all of them (the pigeonhole bootstrap, Owen 2007); arms with the same prompts
    or the same seeds share the draws, so that differences are paired. One seed fewer is drawn
    than there are, which makes the variance between few seeds unbiased (Rao & Wu 1988).
    Intervals and p-values are then stretched as Student's t asks for so few seeds.
    """
    rng = np.random.default_rng(seed)
    seed_weights: dict[tuple[int, ...], np.ndarray] = {}
    prompt_weights: dict[tuple[str, ...], np.ndarray] = {}
    draws = {}
    for name, arm in arms.items():
        if arm.seeds not in seed_weights:
            count = len(arm.seeds)
            seed_weights[arm.seeds] = _weights(rng, resamples, count, max(count - 1, 1))
        if arm.prompts not in prompt_weights:
            count = len(arm.prompts)
            prompt_weights[arm.prompts] = _weights(rng, resamples, count, count)
        by_seed = prompt_weights[arm.prompts] @ arm.values.T.astype(float)
        draws[name] = (by_seed * seed_weights[arm.seeds]).sum(1)
    return draws


def _weights(rng: np.random.Generator, resamples: int, count: int, drawn: int) -> np.ndarray:
    chosen = rng.integers(count, size=(resamples, drawn))
    flat = (chosen + count * np.arange(resamples)[:, None]).ravel()
    counts = np.bincount(flat, minlength=resamples * count).reshape(resamples, count)
    return counts / drawn


def rate(outcomes: Outcomes, *, draws: np.ndarray | None = None) -> Rate:
    """Return an arm's rate: Wilson's interval for one seed, the bootstrap's for several."""
    value, n, seeds = outcomes.rate, len(outcomes.prompts), len(outcomes.seeds)
    if seeds == 1:
        return Rate(value, *_wilson(value, n), n, seeds, "wilson")
    if value in (0.0, 1.0):
        # No resample differs when all outcomes agree; Wilson on the prompts of one seed says
        # what little is known.
        return Rate(value, *_wilson(value, n), n, seeds, "wilson")
    if draws is None:
        draws = hierarchical_bootstrap({"": outcomes})[""]
    wide = _widened(draws, value, outcomes.values.mean(1).var(ddof=1) / seeds, seeds)
    low, high = _percentiles(wide)
    return Rate(value, max(low, 0.0), min(high, 1.0), n, seeds, "bootstrap")


def difference(
    first: Outcomes, second: Outcomes, *, resamples: int = RESAMPLES, seed: int = 0
) -> Difference:
    """Compare two arms, first minus second.

    Seeds that both arms have are compared, all of both where they share none. One shared seed on
    the same prompts is a pair of runs: Newcombe's interval and the exact McNemar test.
    """
    common = [s for s in first.seeds if s in second.seeds]
    if common:
        first, second = first.of_seeds(common), second.of_seeds(common)
    same_prompts = first.prompts == second.prompts
    seeds = min(len(first.seeds), len(second.seeds))
    if len(common) == 1 and same_prompts:
        return paired_difference(first.values[0], second.values[0])
    value = first.rate - second.rate
    n = min(len(first.prompts), len(second.prompts))
    if first.rate in (0.0, 1.0) and second.rate in (0.0, 1.0):
        return _certain(value, n, seeds, resamples)
    draws = hierarchical_bootstrap({"a": first, "b": second}, resamples=resamples, seed=seed)
    between = _seed_variance(first, second, paired=bool(common))
    gaps = _widened(draws["a"] - draws["b"], value, between, seeds)
    low, high = _percentiles(gaps)
    p = _two_sided(gaps)
    return Difference(value, max(low, -1.0), min(high, 1.0), p, n, seeds, "bootstrap")


def _seed_variance(first: Outcomes, second: Outcomes, *, paired: bool) -> float:
    """Variance of the difference of two arms' means that comes from their seeds."""
    one, two = first.values.mean(1), second.values.mean(1)
    parts = [one - two] if paired else [one, two]
    return sum(float(part.var(ddof=1)) / len(part) for part in parts if len(part) > 1)


def _widened(draws: np.ndarray, value: float, between: float, seeds: int) -> np.ndarray:
    """Stretch draws about the estimate as Student's t asks for few seeds.

    A variance known from three seeds is itself uncertain; percentiles alone cover 85 % there.
    The degrees of freedom are Welch and Satterthwaite's, with prompts as good as infinitely many.
    """
    total = float(draws.var())
    if between <= 0 or total <= 0 or seeds < 2:
        return draws
    share = min(between / total, 1.0)
    freedom = (seeds - 1) / share**2
    upper = 0.5 + CONFIDENCE / 2
    return value + (draws - value) * float(stdtrit(freedom, upper) / ndtri(upper))


def _certain(value: float, n: int, seeds: int, resamples: int) -> Difference:
    """Both arms give one outcome throughout: the interval of a pair of runs, a bootstrap p."""
    ones = np.ones(n, dtype=bool)
    pair = paired_difference(ones if value > 0 else ~ones, ones if value < 0 else ~ones)
    p = 1.0 if value == 0 else 2 / (resamples + 1)
    return Difference(value, pair.low, pair.high, p, n, seeds, "bootstrap")


def _two_sided(gaps: np.ndarray) -> float:
    tail = min(int((gaps <= 0).sum()), int((gaps >= 0).sum()))
    return min(1.0, 2 * (tail + 1) / (len(gaps) + 1))


def _percentiles(draws: np.ndarray) -> Interval:
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(draws, [tail, 100 - tail])
    return Interval(float(low), float(high))


def compare(
    arms: Mapping[str, Outcomes], contrasts: Sequence[tuple[str, str]]
) -> tuple[Contrast, ...]:
    """Return named contrasts between arms, with Holm's correction over all of them."""
    found = [difference(arms[first], arms[second]) for first, second in contrasts]
    corrected = holm([entry.p for entry in found])
    return tuple(
        Contrast(first, second, entry, p)
        for (first, second), entry, p in zip(contrasts, found, corrected, strict=True)
    )


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Return Holm-adjusted p-values in the given order (Holm 1979)."""
    order = np.argsort(p_values, kind="stable")
    count = len(p_values)
    scaled = np.asarray(p_values, dtype=float)[order] * (count - np.arange(count))
    adjusted = np.empty(count)
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return tuple(float(p) for p in adjusted)
