"""What goes into a comparison of arms and what comes out of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np

from cwac.errors import DataError

CONFIDENCE: Final = 0.95


class Interval(NamedTuple):
    """Lower and upper end of a confidence interval."""

    low: float
    high: float


@dataclass(frozen=True)
class Outcomes:
    """Outcomes of an arm: the same requests under each of its seeds.

    Attributes
    ----------
    values : ndarray
        ``(seeds, requests)``: boolean for yes and no, a share in [0, 1] where a request was
        answered several times, or another number of each request, as its log-odds.
    seeds : tuple of int
    requests : tuple of str
        Identifiers in column order; arms with equal ones are compared request by request.

    Raises
    ------
    DataError
        The shape does not fit, or there is nothing in it.
    """

    values: np.ndarray
    seeds: tuple[int, ...]
    requests: tuple[str, ...]

    def __post_init__(self) -> None:
        expected = (len(self.seeds), len(self.requests))
        if self.values.shape != expected or 0 in expected:
            raise DataError(
                f"outcomes of shape {self.values.shape} do not fit {expected[0]} seeds x "
                f"{expected[1]} requests, at least one of each."
            )

    @property
    def rate(self) -> float:
        """Mean over seeds and requests."""
        return float(self.values.mean())

    @property
    def yes_or_no(self) -> bool:
        """Whether every request counts wholly or not at all: what an exact test asks for."""
        return bool(np.isin(self.values, (0, 1)).all())

    def of_seeds(self, seeds: Sequence[int]) -> "Outcomes":
        """Return the rows of some seeds."""
        rows = [self.seeds.index(seed) for seed in seeds]
        return Outcomes(self.values[rows], tuple(seeds), self.requests)


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
