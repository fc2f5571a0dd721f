"""Prompts in five disjoint splits, from a model's folder or from a user's files."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Final, Self

from cwac.config import PromptsConfig
from cwac.errors import DataError
from cwac.prompts.items import KINDS, SPLITS, Kind, Part, Prompt, Split, read_lines, write_lines
from cwac.prompts.own import read_own
from cwac.prompts.packing import LINES, PACKED_LINES, find_lines

PACKED_SPLITS: Final[frozenset[Split]] = frozenset({"alignment"})
"""The split that is nearly all of a folder's size; the others are left for people to open."""


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
        """Read a user's own files and split them by content under ``config.split_seed``.

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
        parts = read_own(config, exclude_texts, notes)
        return cls(parts, notes)
