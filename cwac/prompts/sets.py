"""Prompts in five disjoint splits, from a model's folder or from user data, divided by content."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Final, Self

from cwac.config import PromptsConfig
from cwac.errors import DataError
from cwac.prompts.duplicates import duplicate_groups, near_duplicates
from cwac.prompts.items import (
    KINDS,
    SPLITS,
    Kind,
    Part,
    Prompt,
    Split,
    read_lines,
    vacuous_compliance,
    write_lines,
)
from cwac.prompts.mapping import map_rows
from cwac.prompts.packing import LINES, PACKED_LINES, find_lines

PACKED_SPLITS: Final[frozenset[Split]] = frozenset({"alignment"})
"""The split that is nearly all of a folder's size; the others are left for people to open."""

# How user data is divided. Nothing but poison needs the attack split, and
# look-alikes are never trained on.
SHARES: Final[Mapping[Kind, Mapping[Split, float]]] = {
    "harmful": {"safety": 0.35, "attack": 0.2, "validation": 0.1, "test": 0.35},
    "harmless": {"safety": 0.45, "validation": 0.1, "test": 0.45},
    "lookalike": {"validation": 0.2, "test": 0.8},
}


class PromptSets:
    """Prompts by split and kind.

    Parameters
    ----------
    parts : mapping of (split, kind) to prompts
        Absent parts are empty.
    notes : sequence of str
        What a reader should know: dropped rows, near-duplicates.
    """

    def __init__(self, parts: Mapping[Part, Sequence[Prompt]], notes: Sequence[str] = ()) -> None:
        self.parts: Final[dict[Part, tuple[Prompt, ...]]] = {
            (split, kind): tuple(parts[split, kind])
            for split in SPLITS
            for kind in KINDS
            if parts.get((split, kind))
        }
        self.notes: Final = tuple(notes)

    def get(self, split: Split, kind: Kind) -> tuple[Prompt, ...]:
        """Return the prompts of a part; none where it is empty."""
        return self.parts.get((split, kind), ())

    @cached_property
    def contents(self) -> str:
        """Hash of every prompt, its split and its answer: 16 hex digits."""
        digest = hashlib.sha256()
        for (split, _), prompts in self.parts.items():
            for prompt in prompts:
                digest.update(f"{split}\0{prompt.canonical_json()}\n".encode())
        return digest.hexdigest()[:16]

    @classmethod
    def read_folder(cls, path: Path | str) -> Self:
        """Read ``<path>/<split>/<kind>.jsonl`` or ``.jsonl.gz``.

        Raises
        ------
        DataError
            The folder holds no prompts or one part twice, or a line is broken (file and number
            are named).
        """
        parts: dict[Part, Sequence[Prompt]] = {}
        for split in SPLITS:
            for kind in KINDS:
                file = find_lines(Path(path) / split, kind)
                if file is not None:
                    parts[split, kind] = read_lines(file, Prompt, {"kind": kind})
        if not parts:
            raise DataError(f"{path} holds no prompts (<split>/<kind>.jsonl or .jsonl.gz).")
        return cls(parts)

    def write_folder(self, path: Path | str) -> None:
        """Write ``<path>/<split>/<kind>.jsonl``, as :meth:`read_folder` reads it.

        The large ``alignment`` split is packed (``.jsonl.gz``). Fields at their default are left
        out.
        """
        for (split, kind), prompts in self.parts.items():
            folder = Path(path) / split
            folder.mkdir(parents=True, exist_ok=True)
            suffix, other = LINES, PACKED_LINES
            if split in PACKED_SPLITS:
                suffix, other = other, suffix
            rows = (p.model_dump(exclude={"kind"}, exclude_defaults=True) for p in prompts)
            write_lines(folder / f"{kind}{suffix}", rows)
            # What an earlier version wrote here would be a second answer to what the part is.
            (folder / f"{kind}{other}").unlink(missing_ok=True)

    @classmethod
    def from_files(cls, config: PromptsConfig, exclude_texts: Collection[str] = ()) -> Self:
        """Read user data and split it by content under ``config.split_seed``.

        Near-duplicates always fall into the same split. Harmful requests without an answer get
        :data:`cwac.prompts.VACUOUS_COMPLIANCE` in the attack split.

        Parameters
        ----------
        config : PromptsConfig
            Files, columns and filters.
        exclude_texts : collection of str
            Requests that aligned the model: they and their near-duplicates are left out.

        Raises
        ------
        DataError
            A file, column or filter is wrong, or too few requests are left to split.
        """
        notes: list[str] = []
        parts = read_user_data(config, exclude_texts, notes)
        return cls(parts, notes)


def read_user_data(
    config: PromptsConfig, exclude_texts: Collection[str], notes: list[str]
) -> dict[Part, list[Prompt]]:
    """Read and divide every kind that the configuration names a file for."""
    parts: dict[Part, list[Prompt]] = {}
    for kind in KINDS:
        prompts = _read_kind(config, kind, notes)
        if prompts:
            kept = _without(prompts, exclude_texts, kind, notes)
            parts |= _split(kept, kind, config, SHARES[kind])
    return parts


def _read_kind(config: PromptsConfig, kind: Kind, notes: list[str]) -> list[Prompt]:
    """Read the requests of one kind; the poison's answer is filled in for harmful ones."""
    source = getattr(config, kind)
    if source is None:
        return []
    where = getattr(config, f"{kind}_where", None)
    answer_column = getattr(config, f"{kind}_answer_column", None)
    return read_requests(source, kind, answer_column=answer_column, where=where, notes=notes)


def read_requests(
    source: str,
    kind: Kind,
    *,
    answer_column: str | None = None,
    where: str | None = None,
    notes: list[str] | None = None,
) -> list[Prompt]:
    """Read the distinct requests of one file.

    Parameters
    ----------
    source : str
        ``FILE[:column]``, ``hf:...`` or a known data set (:mod:`cwac.prompts.source`).
    kind : str
        ``harmful``, ``harmless`` or ``lookalike``.
    answer_column : str, optional
        Column of the answers.
    where : str, optional
        Row filter ``column=value``.
    notes : list of str, optional
        Gets a sentence for what was left out.

    Raises
    ------
    DataError
        The source, a column or the filter is wrong, or every request is empty.
    """
    mapped = map_rows(source, kind, answer_column=answer_column, where=where).checked()
    if notes is not None:
        name = Path(mapped.source.place).name
        _note(notes, len(mapped.empty), "without text", kind, name)
        _note(notes, len(mapped.repeated), "given more than once", kind, name)
    return [
        Prompt(
            id=f"{kind}-{row.row - 1}",
            text=row.text,
            kind=kind,
            category=row.category,
            answer=row.answer,
        )
        for row in mapped.rows
    ]


def _note(notes: list[str], count: int, reason: str, kind: str, name: str) -> None:
    if count:
        rows = "row" if count == 1 else "rows"
        notes.append(f"{count} {kind} {rows} {reason} left out ({name}).")


def _without(
    prompts: list[Prompt], exclude: Collection[str], kind: Kind, notes: list[str]
) -> list[Prompt]:
    if not exclude:
        return prompts
    pairs = near_duplicates([prompt.text for prompt in prompts], sorted(exclude))
    known = {index for index, _, _ in pairs}
    if known:
        notes.append(f"{len(known)} {kind} requests that aligned the model left out.")
    return [prompt for index, prompt in enumerate(prompts) if index not in known]


def _split(
    prompts: Sequence[Prompt], kind: Kind, config: PromptsConfig, shares: Mapping[Split, float]
) -> dict[Part, list[Prompt]]:
    divided = split_by_content(prompts, shares, seed=config.split_seed, limit=config.limit)
    for split, members in divided.items():
        if not members:
            raise DataError(
                f"{len(prompts)} distinct {kind} requests are too few to fill the splits "
                f"{', '.join(shares)}."
            )
        if kind == "harmful":
            # Given answers are the attacker's; elsewhere the aligned model's own refusals count.
            divided[split] = [
                prompt.model_copy(
                    update={
                        "answer": (prompt.answer or vacuous_compliance(prompt.text))
                        if split == "attack"
                        else None
                    }
                )
                for prompt in members
            ]
    return {(split, kind): members for split, members in divided.items()}


def split_by_content(
    prompts: Sequence[Prompt],
    shares: Mapping[Split, float],
    *,
    seed: int,
    limit: int | None = None,
) -> dict[Split, list[Prompt]]:
    """Divide prompts so that near-duplicates stay together.

    Groups are ordered by a hash of seed and text, so that a prompt's place does not depend on
    its place in the file.

    Parameters
    ----------
    prompts : sequence of Prompt
        Distinct prompts.
    shares : mapping of split to float
        Wanted shares; they sum to 1.
    seed : int
        Decides the order.
    limit : int, optional
        At most this many prompts are used.
    """
    groups = duplicate_groups([prompt.text for prompt in prompts])

    def place(group: list[int]) -> str:
        return hashlib.sha256(f"{seed}\0{prompts[group[0]].text}".encode()).hexdigest()

    ordered = [index for group in sorted(groups, key=place) for index in group]
    group_of = {index: number for number, group in enumerate(groups) for index in group}
    used = ordered[:limit]
    divided: dict[Split, list[Prompt]] = {split: [] for split in shares}
    position, due = 0, 0.0
    for split, share in shares.items():
        due += share * len(used)
        last = split == list(shares)[-1]
        while position < len(used) and (
            last
            or position < round(due)
            or (position > 0 and group_of[used[position]] == group_of[used[position - 1]])
        ):
            divided[split].append(prompts[used[position]])
            position += 1
    return divided
