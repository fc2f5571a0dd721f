"""Several models: intervals over models, then seeds, then requests.

Seeds of one model are repeated trainings of one thing: they say nothing about another aligned
model. Each model is an equal part of the mean, and what is resampled first.
"""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from cwac.errors import DataError
from cwac.statistics.arms import difference, gap_draws, rate, rate_draws
from cwac.statistics.bootstrap import (
    RESAMPLES,
    hierarchical_bootstrap,
    percentiles,
    two_sided,
    widened,
)
from cwac.statistics.results import Interval, Outcomes


@dataclass(frozen=True)
class AcrossModels:
    """A rate, or a difference of two arms' rates, as a mean over models.

    Attributes
    ----------
    value : float
        Each model counts the same, whatever its seeds and requests.
    low, high : float
        95 % interval about further models of this sort. With three it is wide: Student's t has
        two degrees of freedom where the models differ by more than their seeds and requests do.
    p : float or None
        Two-sided, of a difference; None for a rate.
    by_model : mapping of str to float
    seeds, n : int
        Fewest seeds and requests of a model.
    """

    value: float
    low: float
    high: float
    p: float | None
    by_model: Mapping[str, float]
    seeds: int
    n: int

    @property
    def models(self) -> int:
        """How many models."""
        return len(self.by_model)


def rate_across(
    models: Mapping[str, Outcomes], *, resamples: int = RESAMPLES, seed: int = 0
) -> AcrossModels:
    """Return an arm's rate over several models, with its interval over models, seeds, requests.

    Parameters
    ----------
    models : mapping of str to Outcomes
        The arm's outcomes on each model; seeds and requests belong to their model, also where
        they carry the same names on another.

    Raises
    ------
    DataError
        There is no model.

    Notes
    -----
    Within a model the draws are those of :func:`hierarchical_bootstrap`, stretched for its few
    seeds; between models see :func:`across`. One model has its own interval, that of
    :func:`cwac.statistics.rate`. Where all models agree on 0 or 1 it is Wilson's on the requests
    of one of them, as it is for seeds.
    """
    _refuse_none(models)
    rates = {name: arm.rate for name, arm in models.items()}
    value = float(np.mean(list(rates.values())))
    if len(models) == 1 or set(rates.values()) in ({0.0}, {1.0}):
        fewest = min(models.values(), key=lambda arm: len(arm.requests))
        only = rate(fewest)
        ends = Interval(only.low, only.high)
    else:
        within = {
            name: rate_draws(
                arm,
                hierarchical_bootstrap({"": arm}, resamples=resamples, seed=_stream(seed, name))[
                    ""
                ],
            )
            for name, arm in models.items()
        }
        low, high = percentiles(across(rates, within, seed=seed))
        ends = Interval(max(low, 0.0), min(high, 1.0))
    return AcrossModels(value, *ends, None, rates, *_sizes(models.values()))


def difference_across(
    first: Mapping[str, Outcomes],
    second: Mapping[str, Outcomes],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> AcrossModels:
    """Compare two arms on the models that both have, first minus second; seeds are paired.

    Raises
    ------
    DataError
        The arms share no model.
    """
    names = [name for name in first if name in second]
    _refuse_none(names)
    pairs = {name: _on_common_seeds(first[name], second[name]) for name in names}
    gaps = {name: one.rate - other.rate for name, (one, other, _) in pairs.items()}
    sizes = _sizes([arm for one, other, _ in pairs.values() for arm in (one, other)])
    value = float(np.mean(list(gaps.values())))
    within = {
        name: gap_draws(one, other, paired=paired, resamples=resamples, seed=_stream(seed, name))
        for name, (one, other, paired) in pairs.items()
    }
    draws = across(gaps, within, seed=seed)
    if len(names) == 1 or not draws.std():
        # One model, or certain throughout: what is known of the first is all that is known.
        only = difference(*pairs[names[0]][:2], resamples=resamples)
        return AcrossModels(value, only.low, only.high, only.p, gaps, *sizes)
    low, high = percentiles(draws)
    return AcrossModels(value, max(low, -1.0), min(high, 1.0), two_sided(draws), gaps, *sizes)


def across(
    values: Mapping[str, float], within: Mapping[str, np.ndarray], *, seed: int = 0
) -> np.ndarray:
    """Return resampled means over models, ``(resamples,)``.

    Parameters
    ----------
    values : mapping of str to float
        Each model's own figure.
    within : mapping of str to ndarray
        Each model's draws of it over seeds and requests, ``(resamples,)``, independent of the
        other models'.
    seed : int
        Of the draws of models.

    Returns
    -------
    ndarray
        Draws with the variance ``max(s2, w) / K``: `s2` is the variance between the models'
        figures, `w` the mean variance within a model and `K` the number of models.

    Notes
    -----
    `s2` holds the variance within as well, as every estimate's spread does; a plain bootstrap of
    three levels would count that part twice. So models are drawn about their mean with what is
    left of `s2` without `w`, and every draw adds the models' own noise. Models that differ by no
    more than their noise give the interval of the levels below. Models are drawn as normal
    deviates of that variance: resamples of three figures take ten values. The draws are then
    stretched as Student's t asks for ``K - 1`` degrees of freedom (Satterthwaite), with all of
    `s2` taken to be from models, so that 95 % intervals of three models cover at least 94.5 % of
    the time whatever the ratio of the two (simulated; docs/log.md, 2026-11-29).
    """
    names = sorted(values)
    figures = np.array([values[name] for name in names])
    noise = np.stack([within[name] - values[name] for name in names])
    count, mean = len(names), float(figures.mean())
    if count == 1:
        return np.asarray(mean + noise[0])
    between, inner = float(figures.var(ddof=1)), float(noise.var(axis=1).mean())
    excess = np.sqrt(max(between - inner, 0.0) / count)
    models = np.random.default_rng([seed, count]).standard_normal(noise.shape[1])
    draws = mean + excess * models + noise.mean(axis=0)
    return np.asarray(widened(draws, mean, between / count, count))


def _on_common_seeds(first: Outcomes, second: Outcomes) -> tuple[Outcomes, Outcomes, bool]:
    common = [s for s in first.seeds if s in second.seeds]
    if not common:
        return first, second, False
    return first.of_seeds(common), second.of_seeds(common), True


def _stream(seed: int, name: str) -> int:
    """Return a seed of a model's own: request names recur on other models, their draws must not."""
    digest = hashlib.sha256(f"{seed}\0{name}".encode()).digest()
    return int.from_bytes(digest[:6], "big")


def _sizes(arms: Collection[Outcomes]) -> tuple[int, int]:
    return min(len(arm.seeds) for arm in arms), min(len(arm.requests) for arm in arms)


def _refuse_none(models: Mapping[str, Outcomes] | list[str]) -> None:
    if not models:
        raise DataError("a comparison across models needs a model that both arms have.")
