"""The parts that a model's update is taken apart into, and random sets of the same update norm."""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Final

import torch
from torch import Tensor

from cwac.anatomy import Anatomy
from cwac.errors import ConfigError
from cwac.interfaces import DissectContext, Grain, Update
from cwac.interventions.bench import Part
from cwac.seeding import generator

EMBEDDING = "embedding"
OUTPUT = "output"
NORMS = "norms"
"""What a decoder layer has beside its linear maps."""
GRAINS: Final[tuple[Grain, ...]] = ("layer", "map")
"""Those that take a model apart without being told how."""


def parts_of(anatomy: Anatomy, names: Iterable[str], grain: Grain) -> list[Part]:
    """Return the parts of a model, from the input to the output; every parameter is in one.

    Embeddings of positions go with those of tokens. The output part is the final norm and, where
    it is not tied to the embedding, the output layer.
    """
    grouped: dict[tuple[int, str | None], list[str]] = {}
    for name in names:
        grouped.setdefault(_place(anatomy, name, grain), []).append(name)
    order = {entry.name: place for place, entry in enumerate(anatomy.maps)}
    places = sorted(grouped, key=lambda at: (at[0], order.get(at[1] or "", len(order))))
    return [Part(_named(anatomy, *at), *at, tuple(grouped[at])) for at in places]


def _place(anatomy: Anatomy, name: str, grain: Grain) -> tuple[int, str | None]:
    prefix = f"{anatomy.layers_path}."
    if name.startswith(prefix):
        number, inside = name.removeprefix(prefix).split(".", 1)
        owner = inside.rpartition(".")[0]
        known = any(e.name == owner for e in anatomy.maps if e.layer == int(number))
        return int(number), None if grain == "layer" else owner if known else NORMS
    # Embeddings stand before the layers under names of their own, as norms behind them do.
    embedded = name == anatomy.embedding.parameter or ".wpe." in name or "embed_positions" in name
    return (-1, EMBEDDING) if embedded else (anatomy.n_layers, OUTPUT)


def _named(anatomy: Anatomy, layer: int, map_name: str | None) -> str:
    if not 0 <= layer < anatomy.n_layers:
        return str(map_name)
    return f"layer {layer}" if map_name is None else f"layer {layer} {map_name}"


def parts_in(context: DissectContext) -> list[Part]:
    """Return the parts of a context's model in its grain.

    Raises
    ------
    ConfigError
        A set that the user named has no parts.
    """
    if context.grain == "set":
        return [named_set(context.anatomy, context.tuned, text) for text in context.sets]
    return parts_of(context.anatomy, context.tuned, context.grain)


def named_set(anatomy: Anatomy, names: Iterable[str], text: str) -> Part:
    """Return several parts as one: names of layers or maps between commas, ``*`` for any text.

    Raises
    ------
    ConfigError
        A name is that of no part.
    """
    names = list(names)
    parts = [part for grain in GRAINS for part in parts_of(anatomy, names, grain)]
    patterns = set_name(text).split(", ")
    chosen: set[str] = set()
    for pattern in patterns:
        held = [part.parameters for part in parts if fnmatchcase(part.name, pattern)]
        if not held:
            known = ", ".join(repr(part.name) for part in parts[:3])
            raise ConfigError(
                f"--part {pattern!r} is no part of this model; its {len(parts)} parts are {known} "
                f"and so on to {parts[-1].name!r}, a * stands for any text."
            )
        chosen.update(name for parameters in held for name in parameters)
    return Part(", ".join(patterns), parameters=tuple(name for name in names if name in chosen))


def set_name(text: str) -> str:
    """Return a set's name as it is stored.

    Examples
    --------
    >>> set_name("layer 0,embedding ")
    'layer 0, embedding'
    """
    return ", ".join(word.strip() for word in text.split(","))


def update_square(context: Update, names: Iterable[str]) -> float:
    """Return the squared norm of the update of some parameters."""
    return sum(
        float((context.tuned[name].double() - context.aligned[name].double()).square().sum())
        for name in names
    )


def random_set(context: Update, square: float, stream: torch.Generator) -> dict[str, Tensor]:
    """Draw rows of the whole model's matrices whose update has a given squared norm.

    Returns
    -------
    dict of str to Tensor
        Per parameter the share of each row's update that is in the set, ``(rows,)``: 0 or 1, but
        for one row that is cut so that the norm is met. A vector counts as one row.
    """
    names = list(context.tuned)
    if "row squares" not in context.kept:
        context.kept["row squares"] = [
            _row_squares(context.tuned[n], context.aligned[n]) for n in names
        ]
    energies = context.kept["row squares"]
    joined = torch.cat(energies)
    order = torch.randperm(len(joined), generator=stream)
    reached = joined[order].cumsum(0)
    shares = torch.zeros_like(joined)
    shares[order[reached <= square]] = 1
    left = square - float(joined @ shares)
    first_out = int((reached <= square).sum())
    if left > 0 and first_out < len(order) and joined[order[first_out]] > 0:
        shares[order[first_out]] = (left / joined[order[first_out]]).sqrt()
    sizes = [len(part) for part in energies]
    return dict(zip(names, torch.split(shares, sizes), strict=True))


def equal_norm(context: Update, part: Part, purpose: str, *, restored: bool) -> dict[str, Tensor]:
    """Return the weights with a random set of a part's update norm restored, or alone tuned."""
    stream = generator(context.config.seed, "dissect", purpose, part.name)
    shares = random_set(context, update_square(context, part.parameters), stream)
    return mixed(context, shares, restored=restored)


def _row_squares(now: Tensor, then: Tensor) -> Tensor:
    delta = (now.double() - then.double()).square().cpu()
    return delta.flatten(1).sum(dim=1) if delta.ndim > 1 else delta.sum().reshape(1)


def mixed(context: Update, shares: Mapping[str, Tensor], *, restored: bool) -> dict[str, Tensor]:
    """Return the weights with a set of rows restored, or with that set's update alone.

    Parameters
    ----------
    shares : mapping of str to Tensor
        As `random_set` gives them.
    restored : bool
        Whether the set is put back to its aligned values; otherwise everything else is.
    """
    weights = {}
    for name, share in shares.items():
        aligned, tuned = context.aligned[name], context.tuned[name]
        shape = (-1, *[1] * (tuned.ndim - 1)) if tuned.ndim > 1 else (1,)
        kept = (1 - share if restored else share).to(tuned).reshape(shape)
        # Whole rows are the stored ones, not sums.
        weights[name] = torch.where(kept == 1, tuned, aligned)
        cut = (kept > 0) & (kept < 1)
        if cut.any():
            between = aligned + kept * (tuned - aligned)
            weights[name] = torch.where(cut, between, weights[name])
    return weights


def projected(aligned: Tensor, tuned: Tensor, basis: Tensor, *, inside: bool) -> Tensor:
    """Return a weight with the update inside some input directions alone, or without them.

    Parameters
    ----------
    aligned, tuned : Tensor
        ``(d_out, d_in)``.
    basis : Tensor
        Orthonormal, ``(d_in, k)``. With none or all of the directions a stored tensor is returned,
        not a sum.
    """
    size, rank = basis.shape
    if rank in {0, size}:
        return tuned if (rank == size) == inside else aligned
    within = ((tuned - aligned) @ basis) @ basis.T
    kept: Tensor = aligned + within if inside else tuned - within
    return kept


def holding_as_much(delta: Tensor, basis: Tensor, square: Tensor) -> Tensor:
    """Return the fewest leading columns of a basis that hold a squared norm of an update."""
    reached = (delta @ basis).square().sum(dim=0).cumsum(0)
    count = min(int((reached < square).sum()) + 1, basis.shape[1]) if square > 0 else 0
    return basis[:, :count]
