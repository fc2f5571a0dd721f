"""What each stored intervention says, in one sentence with its control: the figures' titles."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import pandas as pd

from cwac.analysis.interventions import LOG_ODDS, by_seed, of_arm, pooled, refused, scope
from cwac.analysis.seeds import ends_text, listed
from cwac.arms import Arm
from cwac.figures.panels import percent
from cwac.records import OUTER_MAPS

HALF: Final = 0.5
"""Share of the lost log-odds from which a number of directions is named."""
SMALL: Final = 0.1
"""Share of what is kept up to which a dropped term counts as small."""
READ: Final = 0.9
"""AUROC at a model's best layer from which harm counts as read out: of ten pairs of a harmful
request and a look-alike nine are told apart."""


def of(name: str, rows: pd.DataFrame, arm: Arm) -> str:
    """Return an intervention's sentence about an arm, with its seeds and what ranges are over.

    A plain one where rows are missing.
    """
    say = _SENTENCES.get(name)
    table = of_arm(rows, arm, name)
    try:
        text = say(rows if name in _OF_MORE else table, arm) if say else ""
    except (IndexError, KeyError, ValueError):
        # Rows that a shorter or an older dissection does not have.
        text = ""
    measure, ranges = _OF_MORE.get(name, (LOG_ODDS, ""))
    seeds = scope(by_seed(rows, arm, name, measure), ranges=ranges)
    text = text or f"{arm.title}: {name.replace('_', ' ')}"
    return f"{text}. {seeds}" if seeds else text


def _row(table: pd.DataFrame, trial: str, **where: Any) -> Mapping[Any, Any]:
    """Return the one row of a trial; raise where it is not stored."""
    chosen = table[table["trial"] == trial]
    for name, value in where.items():
        chosen = chosen[chosen[name] == value]
    return dict(chosen.iloc[0])


def _at(table: pd.DataFrame, name: Any) -> Mapping[Any, Any]:
    """Return the first row of an index's name."""
    return dict(table[table.index == name].iloc[0])


def _text(row: Mapping[Any, Any]) -> str:
    """Return a row's number: a share in per cent, or nats."""
    return percent(row["y"]) if row["is_share"] else f"{row['y']:.1f} nats"


def _interval(row: Mapping[Any, Any]) -> str:
    if not row["is_share"]:
        ends = ends_text(f"{row['low']:.1f}", f"{row['high']:.1f}", row["seeds"])
        return f"{row['y']:.1f} nats {ends}"
    ends = ends_text(percent(row["low"]), percent(row["high"]), row["seeds"])
    return f"{percent(row['y'])} {ends}"


def _of(row: Mapping[Any, Any]) -> str:
    return "of the lost log-odds" if row["is_share"] else "of refusal log-odds"


def _transplant(table: pd.DataFrame, arm: Arm) -> str:
    mine = table[~table["control"]].set_index("part")
    control = table[table["control"]].set_index("part")
    part = (mine["y"] - control["y"]).idxmin()
    row, chance = _at(mine, part), _at(control, part)
    answers = refused(row)
    return (
        f"Alone in the aligned model, {arm.title}'s {part} leaves {_interval(row)} {_of(row)}"
        f"{f', and {answers}' if answers else ''}; a random set of equal norm leaves "
        f"{_text(chance)}"
    )


def _greedy(rows: pd.DataFrame, arm: Arm) -> str:
    steps = by_seed(rows, arm, "greedy_path").sort_values("dose", kind="stable")
    mine, random = steps[~steps["control"]], steps[steps["control"]]
    ends = mine.groupby("seed").tail(1)
    last = dict(pooled(ends, ["is_share"]).iloc[0])
    # Each seed's path has its own length: the random order is read where that ends.
    beside = random.merge(ends[["seed", "dose"]], on=["seed", "dose"])
    chance = dict(pooled(beside, ["is_share"]).iloc[0])
    counts = sorted({int(dose) for dose in ends["dose"]})
    count = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else str(counts[0])
    one = counts == [1]
    text = f"{count} part{'' if one else 's'} ({_orders(mine)})"
    if last["is_share"]:
        back = f"bring{'s' if one else ''} back {_interval(last)} of what {arm.title} lost"
    else:
        back = f"restored, {arm.title} has {_interval(last)} {_of(last)}"
    return f"{text} {back}; as many in a random order {_text(chance)}"


def _orders(steps: pd.DataFrame) -> str:
    """Return the parts in the order in which they joined, and under which seeds, if they differ."""
    seeds: dict[str, list[int]] = {}
    for seed, parts in steps.groupby("seed")["part"]:
        seeds.setdefault(", ".join(parts), []).append(int(str(seed)))
    if len(seeds) == 1:
        return next(iter(seeds))
    return "; ".join(
        f"{order} under seed{'s' if len(of) > 1 else ''} {listed(of)}"
        for order, of in seeds.items()
    )


def _path(table: pd.DataFrame, arm: Arm) -> str:
    half, end = _row(table, "update", dose=0.5), _row(table, "update", dose=1.0)
    random = _row(table, "random direction of equal norm", dose=1.0)
    answers = refused(half)
    left = "is left" if half["is_share"] else "at half"
    text = f"Half of {arm.title}'s update: {_text(half)} {_of(half)} {left}"
    text += f" ({answers})" if answers else ""
    return f"{text}, the whole {_text(end)}; a random direction of equal norm {_text(random)}"


def _subspace(table: pd.DataFrame, arm: Arm) -> str:
    inside = _row(table, "inside removed")
    energy = _row(table, "inside removed, random of equal energy")
    rank = _row(table, "inside removed, random of equal rank")
    harmless = table[table["trial"] == "inside removed, harmless of equal rank"]
    beside = "".join(
        f", without the directions of harmless requests {_text(row)}"
        for row in harmless.to_dict("records")
    )
    return (
        f"Without its part inside the safety subspace {arm.title} has {_interval(inside)} "
        f"{_of(inside)} back; without random directions of equal energy {_text(energy)}, "
        f"of equal rank {_text(rank)}{beside}"
    )


def inside_line(rows: pd.DataFrame, arm: Arm) -> str:
    """Return in one line what is back without the update's part inside the safety subspace.

    Empty where that was not measured, or where the arm lost nothing of which a share is back.
    """
    table = of_arm(rows, arm, "subspace_split")
    try:
        inside = _row(table, "inside removed")
        energy = _row(table, "inside removed, random of equal energy")
    except IndexError:
        return ""
    if not inside["is_share"]:
        return ""
    return (
        f"Without its part inside the safety subspace {arm.title} has {_interval(inside)} "
        f"{_of(inside)} back (random directions of equal energy: {_text(energy)})"
    )


def _spectral(table: pd.DataFrame, arm: Arm) -> str:
    mine = table[table["trial"] == "leading removed"].set_index("dose").sort_index()
    half = mine[mine["y"] >= HALF] if mine["is_share"].all() else mine.iloc[:0]
    dose = float(half.index[0] if len(half) else mine.index[int(mine["y"].to_numpy().argmax())])
    row = _at(mine, dose)
    norm, *count = (
        _text(_row(table, f"leading removed, random of equal {kind}", dose=dose))
        for kind in ("norm", "number")
        if f"leading removed, random of equal {kind}" in set(table["trial"])
    )
    beside = f"random directions that hold as much of the update return {norm}"
    beside += "".join(f", as many random ones {text}" for text in count)
    if len(half):
        return (
            f"Half of what {arm.title} lost is back once {_directions(dose)} of every matrix are "
            f"taken out: {_interval(row)}; {beside}"
        )
    return (
        f"Rid of {_directions(dose)} of every matrix, {arm.title} has {_interval(row)} "
        f"{_of(row)} back; {beside}"
    )


def _directions(count: float) -> str:
    return f"the {count:.0f} leading singular direction{'s' if count > 1 else ''}"


def of_first_directions(rows: pd.DataFrame, arm: Arm) -> str:
    """Return what is back without the first directions of the safety subspace alone."""
    table = of_arm(rows, arm, "subspace_split")
    mine = table[table["trial"] == "first directions removed"].set_index("dose")
    random = table[table["trial"] == "first directions removed, random of equal rank"]
    random = random.set_index("dose")
    if mine.empty or random.empty:
        return f"{arm.title}: the first directions alone were not taken out"
    dose = (mine["y"] - random["y"]).idxmax()
    row = _at(mine, dose)
    return (
        f"Without the first {dose:.0f} directions of the safety subspace {arm.title} has "
        f"{_interval(row)} {_of(row)} back, without as many random ones "
        f"{_text(_at(random, dose))}. {scope(by_seed(rows, arm, 'subspace_split'))}"
    )


def _features(table: pd.DataFrame, arm: Arm) -> str:
    mine = _row(table, "safety features, prompt", part="layers with an SAE")
    random = _row(table, "random latents, prompt", part=mine["part"])
    ceiling = _row(table, "whole stream, prompt", part=mine["part"])
    return (
        f"Safety features set to the aligned values return {_interval(mine)} of what {arm.title} "
        f"lost; as many random latents {_text(random)}, the whole stream {_text(ceiling)}"
    )


def _stream(table: pd.DataFrame, arm: Arm) -> str:
    mine = table[table["trial"] == "last prompt token"]
    best = _at(mine, mine["y"].idxmax())
    request = _row(table, "request", layer=best["layer"])
    other = _row(table, "last prompt token of another harmful request", layer=best["layer"])
    return (
        f"In {arm.title} the aligned stream at the last prompt token, {best['part']}, returns "
        f"{_interval(best)} {_of(best)}; at the request's tokens {_text(request)}; another harmful "
        f"request's stream {_text(other)}"
    )


def _direction(table: pd.DataFrame, arm: Arm) -> str:
    mine = table[table["trial"] == "added"]
    best = _at(mine, mine["y"].idxmax())
    random = _row(table, "random added", layer=best["layer"])
    return (
        f"The aligned refusal direction added at {best['part']} returns {_interval(best)} of what "
        f"{arm.title} lost; a random one of equal norm {_text(random)}"
    )


def _prefill(rows: pd.DataFrame, arm: Arm) -> str:
    counts = of_arm(rows, arm, "prefill", "outcomes")
    given = counts[~counts["control"]]
    most = given["dose"].max()
    few, many = dict(given.iloc[0]), dict(given[given["dose"] == most].iloc[0])
    control = dict(counts[counts["control"] & (counts["dose"] == few["dose"])].iloc[0])
    return (
        f"{arm.title}, given the aligned answer's first token: {refused(few)}; given {most:.0f} "
        f"tokens, {many['refusal']:g}; given a compliant answer's first token, "
        f"{control['refusal']:g}"
    )


def _read_out(rows: pd.DataFrame, arm: Arm) -> str:
    area = of_arm(rows, arm, "read_out", "auroc")
    cosines = of_arm(rows, arm, "read_out", "cosine")
    cosine = cosines.loc[~cosines["control"], "y"]
    own = area.loc[area["trial"] == "difference of means, tuned's own", "y"]
    before = area.loc[area["trial"] == "difference of means, aligned's own", "y"]
    known = "can still be read out of" if own.max() >= READ else "can no longer be read well out of"
    return (
        f"Harm {known} {arm.title}: AUROC {_range(own)} over the layers (aligned {_range(before)}; "
        f"read from {READ:g} on, at the best layer), but along another direction: cosine with the "
        f"aligned one {_range(cosine)}"
    )


def _range(values: "pd.Series[float]") -> str:
    low, high = f"{values.min():.2f}", f"{values.max():.2f}"
    return low if low == high else f"{low} to {high}"


def _decomposition(rows: pd.DataFrame, arm: Arm) -> str:
    table = of_arm(rows, arm, "decomposition", "bilinear_of_kept")
    # The premise is about the decoder's layers.
    table = table[~table["map"].isin(OUTER_MAPS)]
    mine = table.loc[~table["control"], "y"]
    control = table.loc[table["control"], "y"]
    small = "small" if mine.median() <= SMALL else "not small"
    return (
        f"What the theory drops of {arm.title}'s change is {small}: {percent(mine.median())} of "
        f"what it keeps (median over {len(mine)} maps; {percent(mine.min())} to "
        f"{percent(mine.max())}); on harmless requests {percent(control.median())}"
    )


def of_terms(rows: pd.DataFrame, arm: Arm) -> str:
    """Return what the change of the decoder's maps is made of, then of the outer maps."""
    said, count = [], 0
    for term in ("carried", "written", "bilinear"):
        table = of_arm(rows, arm, "decomposition", f"share_{term}")
        mine = table[~table["map"].isin(OUTER_MAPS) & ~table["control"].astype(bool)]
        said.append(f"{percent(mine['y'].median())} {term}")
        count = len(mine)
    return (
        f"Of what {arm.title} changes in a map's output {', '.join(said)} (medians over {count} "
        f"maps). {of_outer_maps(rows, arm)}"
    )


def of_outer_maps(rows: pd.DataFrame, arm: Arm) -> str:
    """Return what the embedding and the output layer do to harmful requests."""

    def of_map(measure: str, name: str) -> Mapping[Any, Any] | None:
        table = of_arm(rows, arm, "decomposition", measure)
        table = table[(table["map"] == name) & ~table["control"].astype(bool)]
        return None if table.empty else dict(table.iloc[0])

    output, embedding = (of_map("relative_change", name) for name in ("output", "embedding"))
    carried = of_map("share_carried", "output")
    if output is None or carried is None:
        return "Embedding and output layer: not measured"
    before = "the embedding did not change"
    if embedding is not None:
        before = (
            f"the embedding changes by {percent(embedding['y'])} of its output, all of it written"
        )
    return (
        f"The logits change by {percent(output['y'])} of their size, {percent(carried['y'])} of "
        f"that carried into the {output['part']}; {before}{_less_seeds(rows, arm)}"
    )


def _less_seeds(rows: pd.DataFrame, arm: Arm) -> str:
    """Name the seeds whose outer maps were taken apart, where others' were not."""
    table = by_seed(rows, arm, "decomposition", "bilinear_of_kept")
    seeds = sorted(set(table.loc[table["map"] == "output", "seed"]))
    if len(seeds) == table["seed"].nunique():
        return ""
    return f" (both of seed{'s' if len(seeds) > 1 else ''} {listed(seeds)} alone)"


_SENTENCES: Final[Mapping[str, Callable[[pd.DataFrame, Arm], str]]] = {
    "transplant": _transplant,
    "greedy_path": _greedy,
    "path": _path,
    "subspace_split": _subspace,
    "spectral_split": _spectral,
    "patch_features": _features,
    "patch_residual": _stream,
    "refusal_direction": _direction,
    "prefill": _prefill,
    "read_out": _read_out,
    "decomposition": _decomposition,
}
_OF_MORE: Final[Mapping[str, tuple[str, str]]] = {
    "greedy_path": (LOG_ODDS, ""),
    "prefill": ("outcomes", ""),
    "read_out": ("auroc", "the layers"),
    "decomposition": ("bilinear_of_kept", "the maps"),
}
"""Those whose sentences take more than the log-odds over seeds: the measure that their seeds are
read off, and what their ranges are over, where it is neither requests nor seeds."""
