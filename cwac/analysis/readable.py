"""A figure's long table for people: arms down, what the figure shows across, with intervals.

A figure is drawn from a row a number: for a paper that is hundreds of lines which nobody reads. A
figure says which columns its numbers stand in, and the table is made here.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeVar

import pandas as pd

from cwac.analysis.columns import Units
from cwac.analysis.seeds import ends_text
from cwac.arms import ALIGNED, TITLES, Arm, by_label
from cwac.rates import RATES

MOST_ROWS: Final = 40
MOST_COLUMNS: Final = 8
"""Of numbers: more do not stand on a page side by side."""
ARM: Final[Mapping[str, str]] = {"variant": "Arm"}
NOT_MEASURED: Final = "not measured"
_UNITS: Final = "units"
LOWEST_HIGHEST: Final = "the lowest and the highest seed"
Row = tuple[Hashable, ...]
Part = TypeVar("Part")


class Quantity(NamedTuple):
    """A column of numbers.

    Attributes
    ----------
    column, title : str
        Where it stands, and its name for people.
    unit : str or callable
        ``%`` for fractions, which are shown in per cent, ``points`` for differences of fractions;
        where it depends on what stands across, a function of that.
    low, high : str
        The columns of its interval, where there are such.
    ends : str
        What these columns hold.
    """

    column: str
    title: str
    unit: "str | Callable[[Any], str]" = ""
    low: str = "low"
    high: str = "high"
    ends: str = "95 % intervals"

    @classmethod
    def with_ends(
        cls, column: str, title: str, unit: str = "%", ends: str = "95 % intervals"
    ) -> "Quantity":
        """Return one whose interval stands in ``column_low`` and ``column_high``."""
        return cls(column, title, unit, f"{column}_low", f"{column}_high", ends)

    @classmethod
    def of_probe(cls, column: str, title: str) -> "Quantity":
        """Return one along training: rates are fractions, whose intervals are named without it."""
        stem = column.removesuffix("_rate")
        unit = "%" if stem != column else ""
        return cls(column, title, unit, f"{stem}_low", f"{stem}_high")


class Readable(NamedTuple):
    """A table of texts, and what is to be said with it."""

    table: pd.DataFrame
    notes: tuple[str, ...] = ()

    @property
    def units(self) -> Units:
        """The units of the columns that it was made of, as far as it knows them."""
        known: Units = self.table.attrs.get(_UNITS, {})
        return known


def readable(
    data: pd.DataFrame,
    arms: Iterable[Arm],
    *quantities: Quantity,
    down: Mapping[str, str] = ARM,
    across: tuple[str, str] | None = None,
    name: Callable[[Any], str] = str,
    note: str = "",
    absent: str = NOT_MEASURED,
) -> Readable:
    """Return a table of texts, ``97.0 % [95, 98]``, with the number of requests and seeds.

    Several rows of one cell are averaged, those of a seed first; in round brackets then stand the
    lowest and the highest seed, ``97.0 % (95 to 98)``. What is too much for a page is thinned out
    evenly, which the notes say.

    Parameters
    ----------
    data : DataFrame
        What a figure shows, a number a row.
    arms : iterable of Arm
        Their labels become titles, in their order; the aligned model's is known.
    down : mapping
        The columns that tell the rows apart, with their heads.
    across : (str, str), optional
        The column, and its name, whose values become columns. Where there are many of them and few
        arms, they become rows.
    name : callable
        The head that a value of `across` has.
    note : str
        What is to be said besides: what was averaged.
    absent : str
        What stands where no row is.
    """
    titles = {label: arm.title for label, arm in by_label([ALIGNED, *arms]).items()}
    grid = _grid(data, list(down), across, titles)
    texts = _Texts(grid, absent, [note] if note else [])
    single = quantities[0] if len(quantities) == 1 else None
    if across is not None and single is not None:
        texts.notes.insert(0, f"{single.title}.")
    few = len(down) == 1 and len(grid.rows) <= MOST_COLUMNS
    if across is not None and single is not None and few and len(grid.places) > MOST_COLUMNS:
        body = texts.turned(single, across[1], name)
    else:
        body = texts.upright(quantities, list(down.values()), across, name)
    square = [kind for kind in texts.brackets if kind != LOWEST_HIGHEST]
    if square:
        texts.notes.append(f"In square brackets: {' or '.join(square)}.")
    if LOWEST_HIGHEST in texts.brackets:
        texts.notes.append(f"In round brackets: {LOWEST_HIGHEST}.")
    table = pd.DataFrame(body)
    table.attrs[_UNITS] = _units(data, quantities)
    return Readable(table, tuple(texts.notes))


def _units(data: pd.DataFrame, quantities: Iterable[Quantity]) -> dict[str, str]:
    """Return the units of the columns that hold quantities and their ends."""
    return {
        name: one.unit
        for one in quantities
        for name in (one.column, one.low, one.high)
        # A unit that depends on what stands across is no column's.
        if name in data and isinstance(one.unit, str) and one.unit
    }


def by_layer(
    data: pd.DataFrame, arms: Iterable[Arm], one: Quantity, down: Mapping[str, str] = ARM
) -> Readable:
    """Return a table of one quantity layer by layer, mean over the maps of a layer."""
    several = "map" in data and "map" not in down and data["map"].nunique() > 1
    note = "Means over the maps of a layer." if several else ""
    return readable(
        data,
        arms,
        one,
        down=down,
        across=("layer", "Layer"),
        name="layer {}".format,
        note=note,
        # What lies outside of the decoder's layers has no others.
        absent=NOT_MEASURED if "variant" in down else "",
    )


_RATES: Final = frozenset({"variant", "rate", "value", "low", "high"})
_VALUES: Final = frozenset({"variant", "value", "low", "high"})
_COURSE: Final = frozenset({"variant", "seed", "step"})


def is_usual(data: pd.DataFrame) -> bool:
    """Whether `usual` knows the columns of a figure's table."""
    return any(known <= set(data.columns) for known in (_VALUES, _COURSE))


def usual(data: pd.DataFrame) -> Readable:
    """Return the table of a figure that says nothing of its columns.

    Known are tables of rates (``variant, rate, value, low, high``), of one number an arm (without
    ``rate``), and of probes along training (``variant, seed, step`` and numbers).
    """
    arms = [Arm(method=label) for label in data["variant"].unique() if label in TITLES]
    if set(data.columns) >= _RATES:
        return readable(
            data,
            arms,
            Quantity("value", "Rates", "%"),
            across=("rate", "Rate"),
            name=lambda rate: RATES[rate].title if rate in RATES else str(rate),
        )
    if set(data.columns) >= _VALUES:
        return readable(data, arms, Quantity("value", "Value", ends="what the whiskers show"))
    told = {"run_id", *_COURSE}
    shown = [
        name
        for name in map(str, data.select_dtypes("number").dropna(axis="columns", how="all"))
        if name not in told and not name.endswith(("_n", "_low", "_high"))
    ]
    quantities = [
        Quantity.of_probe(name, name.replace("_", " ").capitalize())
        for name in shown[:MOST_COLUMNS]
    ]
    return readable(data, arms, *quantities, down={**ARM, "step": "Step"})


@dataclass
class _Grid:
    """The rows of a long table by what stands down and across; `heads` are for people."""

    rows: list[Row]
    places: list[Any]
    cells: dict[tuple[Row, Any], pd.DataFrame]
    heads: dict[Row, list[str]]


def _grid(
    data: pd.DataFrame, down: list[str], across: tuple[str, str] | None, titles: Mapping[str, str]
) -> _Grid:
    known = data if across is None else data.dropna(subset=[across[0]])
    cells = {
        (tuple(row), place): part
        for row, mine in known.groupby(down, sort=False, dropna=False)
        for place, part in (
            [(None, mine)] if across is None else mine.groupby(across[0], sort=False)
        )
    }
    rows = list(dict.fromkeys(row for row, _ in cells))
    order = {label: place for place, label in enumerate(titles)}
    rows.sort(key=lambda row: min(order.get(str(part), len(order)) for part in row))
    places = [None] if across is None else list(dict.fromkeys(known[across[0]]))
    places.sort(key=lambda place: order.get(str(place), len(order)))
    heads = {row: [titles.get(str(part), _plain(part)) for part in row] for row in rows}
    return _Grid(rows, places, cells, heads)


@dataclass
class _Texts:
    """The texts of a table; notes what its brackets hold and what was left out."""

    grid: _Grid
    absent: str
    notes: list[str]
    brackets: dict[str, None] = field(default_factory=dict)

    def upright(
        self,
        quantities: Sequence[Quantity],
        down: list[str],
        across: tuple[str, str] | None,
        name: Callable[[Any], str],
    ) -> list[dict[str, str]]:
        """Return a row for each row of the grid, what stands across in columns."""
        most = max(MOST_COLUMNS // len(quantities), 1)
        places = self._thinned(self.grid.places, most, across[1] if across else "")
        body = []
        for row in self._few_rows():
            line = dict(zip(down, self.grid.heads[row], strict=True))
            for place in places:
                for one in quantities:
                    parts = [one.title] if len(quantities) > 1 or across is None else []
                    parts += [name(place)] if across is not None else []
                    line[", ".join(parts)] = self._cell(row, place, one)
            # Of all places: those that are left out may be the only ones of a row.
            found = [
                self.grid.cells[row, p] for p in self.grid.places if (row, p) in self.grid.cells
            ]
            counted = _counts(_known(found, quantities))
            if ALIGNED.label in row:
                # It is one model, whatever seeds the others have.
                counted.pop("Seeds", None)
            body.append(line | counted)
        return body

    def turned(self, one: Quantity, title: str, name: Callable[[Any], str]) -> list[dict[str, str]]:
        """Return a row for each value across, the rows of the grid in columns."""
        counted = _counts(_known(list(self.grid.cells.values()), [one]))
        self.notes += [f"{head}: {text}." for head, text in counted.items()]
        return [
            {title: name(place)}
            | {self.grid.heads[row][0]: self._cell(row, place, one) for row in self.grid.rows}
            for place in self._thinned(self.grid.places, MOST_ROWS, title)
        ]

    def _few_rows(self) -> list[Row]:
        """Return at most `MOST_ROWS`: the first arms, or of each arm some of its rows."""
        rows = self.grid.rows
        if len(rows) <= MOST_ROWS:
            return rows
        of_arms: dict[Row, list[Row]] = {}
        for row in rows:
            of_arms.setdefault(row[:-1], []).append(row)
        each = max(MOST_ROWS // len(of_arms), 1)
        kept = [row for mine in of_arms.values() for row in _evenly(mine, each)]
        kept = rows[:MOST_ROWS] if len(of_arms) == 1 else kept[:MOST_ROWS]
        self.notes.append(f"{len(kept)} of {len(rows)} rows; the CSV has all.")
        return kept

    def _thinned(self, parts: list[Part], most: int, title: str) -> list[Part]:
        if len(parts) <= most:
            return parts
        self.notes.append(f"{title}: {most} of {len(parts)}; the CSV has all.")
        return _evenly(parts, most)

    def _cell(self, row: Row, place: Any, one: Quantity) -> str:
        part = self.grid.cells.get((row, place))
        if part is None:
            return self.absent
        known = part.dropna(subset=[one.column])
        if known.empty:
            return NOT_MEASURED
        ends, kind, seeds = _ends(known, one)
        if ends is not None:
            self.brackets[kind] = None
        unit = one.unit(place) if callable(one.unit) else one.unit
        return _text(_mean(known, one.column), ends, unit, seeds)


def _evenly(parts: list[Part], most: int) -> list[Part]:
    """Return as many of some parts, the first and the last among them."""
    if len(parts) <= most:
        return parts
    last = len(parts) - 1
    return [parts[round(number * last / max(most - 1, 1))] for number in range(most)]


def _mean(rows: pd.DataFrame, column: str) -> float:
    values = rows.groupby("seed")[column].mean() if "seed" in rows else rows[column]
    return float(values.mean())


def _ends(rows: pd.DataFrame, one: Quantity) -> tuple[tuple[float, float] | None, str, int]:
    """Return the ends of a cell's number, what they are, and how many seeds they run over."""
    nothing = (None, "", 1)
    if len(rows) == 1:
        if not {one.low, one.high} <= set(rows.columns):
            return nothing
        row = rows.iloc[0]
        if pd.isna(row[one.low]) or pd.isna(row[one.high]):
            return nothing
        # A table that does not count its seeds says of several what their range is.
        seeds = int(row.get("seeds", 2)) if one.ends == LOWEST_HIGHEST else 1
        if one.ends == LOWEST_HIGHEST and seeds < 2:
            return nothing
        return (float(row[one.low]), float(row[one.high])), one.ends, seeds
    by_seed = rows.groupby("seed")[one.column].mean() if "seed" in rows else pd.Series(dtype=float)
    if len(by_seed) < 2:
        return nothing
    return (float(by_seed.min()), float(by_seed.max())), LOWEST_HIGHEST, len(by_seed)


def _text(value: float, ends: tuple[float, float] | None, unit: str, seeds: int = 1) -> str:
    text, scale, form = f"{value:.3g}{f' {unit}' if unit else ''}", 1, ".3g"
    if unit == "points":
        text, scale, form = f"{100 * value:+.1f} points", 100, "+.0f"
    elif unit == "%":
        text, scale, form = f"{100 * value:.1f} %", 100, ".0f"
    if ends is None:
        return text
    low, high = (f"{scale * end:{form}}" for end in ends)
    return f"{text} {ends_text(low, high, seeds)}"


def _known(parts: Sequence[pd.DataFrame], quantities: Sequence[Quantity]) -> pd.DataFrame:
    """Return the rows that hold one of the numbers."""
    return pd.concat(parts).dropna(subset=[one.column for one in quantities], how="all")


def _counts(rows: pd.DataFrame) -> dict[str, str]:
    """Return how many requests and seeds stand behind some rows, where their table says it."""
    counts = {}
    if "n" in rows:
        counts["n"] = _range(rows["n"])
    if "seeds" in rows:
        counts["Seeds"] = _range(rows["seeds"])
    elif "seed" in rows:
        counts["Seeds"] = f"{rows['seed'].nunique()}"
    return {head: text for head, text in counts.items() if text}


def _range(counts: "pd.Series[Any]") -> str:
    known = counts.dropna()
    if known.empty:
        return ""
    least, most = int(known.min()), int(known.max())
    return f"{least}" if least == most else f"{least} to {most}"


def _plain(part: Any) -> str:
    if pd.isna(part):
        return ""
    return f"{part:g}" if isinstance(part, float) else str(part)
