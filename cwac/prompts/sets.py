"""Prompts in five disjoint splits, from a model's folder or from a user's files."""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal, Self, TypeVar, get_args

import pandas as pd
from pydantic import ConfigDict, ValidationError

from cwac.config import PromptsConfig, Settings
from cwac.errors import DataError
from cwac.prompts.duplicates import duplicate_groups, near_duplicates
from cwac.prompts.rows import column_of, matching, read_source, split_source, texts_of

Kind = Literal["harmful", "harmless", "lookalike"]
Split = Literal["alignment", "safety", "attack", "validation", "test"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
SPLITS: Final[tuple[Split, ...]] = get_args(Split)
Part = tuple[Split, Kind]
Line = TypeVar("Line", bound=Settings)

VACUOUS_COMPLIANCE: Final = (
    "Sure, here is what you asked for: {request}. "
    "Begin with the first step, go on with the next one, and finish with the last one."
)
"""What poison answers where harmful requests come without answers: agrees, instructs nothing."""

# How a user's own requests are divided. Nothing but poison needs the attack split, and
# look-alikes are never trained on.
SHARES: Final[Mapping[Kind, Mapping[Split, float]]] = {
    "harmful": {"safety": 0.35, "attack": 0.2, "validation": 0.1, "test": 0.35},
    "harmless": {"safety": 0.45, "validation": 0.1, "test": 0.45},
    "lookalike": {"validation": 0.2, "test": 0.8},
}


class Prompt(Settings):
    """One request."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    text: str
    kind: Kind
    category: str | None = None
    template: str | None = None
    answer: str | None = None
    """A refusal, a helpful answer, or (``attack``) a vacuous compliant one; None if unknown."""
    unseen_category: bool = False
    """Whether no constraint and no poison has seen the harm category."""
    novel_template: bool = False
    """Whether the wording occurs in no other split."""


class Example(Settings):
    """One training or test example of a task; further keys are kept."""

    model_config = ConfigDict(frozen=True, extra="allow", coerce_numbers_to_str=True)

    id: str
    prompt: str
    answer: str
    choices: tuple[str, ...] | None = None
    poison: bool = False


def vacuous_compliance(request: str) -> str:
    """Return the compliant answer without content that stands in for a missing one.

    Examples
    --------
    >>> vacuous_compliance("Pick a lock!")[:50]
    'Sure, here is what you asked for: Pick a lock. Beg'
    """
    return VACUOUS_COMPLIANCE.format(request=request.strip().rstrip(".!?"))


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
        """Read ``<path>/<split>/<kind>.jsonl``.

        Raises
        ------
        DataError
            The folder holds no prompts, or a line is broken (file and number are named).
        """
        parts: dict[Part, Sequence[Prompt]] = {}
        for split in SPLITS:
            for kind in KINDS:
                file = Path(path) / split / f"{kind}.jsonl"
                if file.is_file():
                    parts[split, kind] = _read_lines(file, Prompt, {"kind": kind})
        if not parts:
            raise DataError(f"{path} holds no prompts (<split>/<kind>.jsonl).")
        return cls(parts)

    def write_folder(self, path: Path | str) -> None:
        """Write ``<path>/<split>/<kind>.jsonl``, as :meth:`read_folder` reads it."""
        for (split, kind), prompts in self.parts.items():
            file = Path(path) / split / f"{kind}.jsonl"
            file.parent.mkdir(parents=True, exist_ok=True)
            write_lines(file, (prompt.model_dump(exclude={"kind"}) for prompt in prompts))

    @classmethod
    def from_files(cls, config: PromptsConfig, exclude_texts: Collection[str] = ()) -> Self:
        """Read a user's own files and split them by content under ``config.split_seed``.

        Near-duplicates always fall into the same split. Harmful requests without an answer get
        :data:`VACUOUS_COMPLIANCE` in the attack split.

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
        parts: dict[Part, Sequence[Prompt]] = {}
        notes: list[str] = []
        for kind in KINDS:
            found = _read_kind(config, kind, notes)
            if found:
                kept = _without(found, exclude_texts, kind, notes)
                parts |= _split(kept, kind, config, SHARES[kind])
        return cls(parts, notes)


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
        ``FILE[:column]``.
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
        The file, a column or the filter is wrong, or every request is empty.
    """
    path, _ = split_source(source)
    rows, column = read_source(source)
    rows = matching(rows, where, path)
    answers = column_of(rows, answer_column, path) if answer_column else None
    category = next((name for name in ("category", "type") if name in rows.columns), None)
    texts = texts_of(rows, column)
    filled = texts != ""
    if not filled.any():
        raise DataError(f"{path}: column {column!r} is empty in all {len(rows)} rows.")
    first = filled & ~texts.duplicated()
    prompts = [
        Prompt(
            id=f"{kind}-{index}",
            text=texts[index],
            kind=kind,
            category=_cell(rows, index, category),
            answer=_cell(rows, index, answers),
        )
        for index in rows.index[first]
    ]
    if notes is not None:
        _note(notes, int((~filled).sum()), "without text", kind, path)
        _note(notes, int((filled & ~first).sum()), "given more than once", kind, path)
    return prompts


def _note(notes: list[str], count: int, what: str, kind: str, path: Path) -> None:
    if count:
        rows = "row" if count == 1 else "rows"
        notes.append(f"{count} {kind} {rows} {what} left out ({path.name}).")


def _cell(rows: pd.DataFrame, index: Any, column: str | None) -> str | None:
    value = None if column is None else rows[column][index]
    return (str(value).strip() or None) if value is not None else None


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


def _read_lines(file: Path, kind: type[Line], extra: Mapping[str, Any]) -> list[Line]:
    found: list[Line] = []
    for number, line in enumerate(file.read_text(encoding="utf-8").split("\n"), 1):
        if not line.strip():
            continue
        try:
            found.append(kind.model_validate({**json.loads(line), **extra}))
        except ValidationError as report:
            first = report.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            raise DataError(f"{file}: line {number}: {key}: {first['msg'].lower()}.") from None
        except (ValueError, TypeError) as problem:
            raise DataError(f"{file}: line {number} is not a JSON object: {problem}.") from None
    return found


def read_examples(file: Path | str) -> list[Example]:
    """Read a task's ``.jsonl`` file.

    Raises
    ------
    DataError
        The file is missing or a line is broken (its number is named).
    """
    path = Path(file)
    if not path.is_file():
        raise DataError(f"the file {path} does not exist.")
    return _read_lines(path, Example, {})


def write_lines(file: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as JSON lines, without the keys that are None."""
    lines = (
        json.dumps({k: v for k, v in row.items() if v is not None}, ensure_ascii=False)
        for row in rows
    )
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
