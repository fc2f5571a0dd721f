"""User data on the Runs page: upload or name examples and requests, choose columns, look."""

import hashlib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pandas as pd
import streamlit as st

from cwac import flags
from cwac.artifacts import HIDDEN, write_bytes
from cwac.errors import CwacError, DataError
from cwac.messages import BrokenSource, DatasetEntry, Source
from cwac.prompts import columns_of, describe_sources, is_source, parse_source
from cwac.sources import slug
from cwac.ui import asking, selection
from cwac.ui.readonly import check_writable
from cwac.ui.widgets import plain

_KEEP: Final = "session"
_NONE: Final = ""
_TABS: Final = {
    "task": "Fine-tuning examples",
    "harmful": "Harmful requests",
    "harmless": "Harmless requests",
    "lookalike": "Harmless look-alikes",
}
_CHECKS: Final = {
    _NONE: "told from the data",
    "label": "label: begins with the right label",
    "word": "word: first class named",
    "number": "number: last number",
    "helpfulness": "helpfulness: by the judge",
}


@dataclass(frozen=True)
class UserData:
    """The user's examples and requests that a run uses.

    Attributes
    ----------
    task : str or None
        Source of the fine-tuning examples; None where the task of the form stands.
    files : mapping
        Names of flags (``harmful``, ``prompt_column``) to values.
    problem : str or None
        Why a run of them would be refused, None where it would not.
    """

    task: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    problem: str | None = None


def data_form(datasets: Sequence[DatasetEntry], task: str, root: str) -> UserData:
    """Draw one tab per kind of data and return what was chosen.

    Parameters
    ----------
    datasets : sequence of DatasetEntry
        Known data sets.
    task : str
        What the form's task says: it may be a source itself.
    root : str
        Folder of stored runs; uploads are kept in it.
    """
    files: dict[str, str] = {}
    chosen: str | None = None
    problems: list[str] = []
    for tab, role in zip(st.tabs(list(_TABS.values())), _TABS, strict=True):
        with tab:
            source = _source(role, [e for e in datasets if f"--{role}" in e.use], root)
            if role == "task":
                chosen = source or None
                source = source or (task if is_source(task) else _NONE)
            if source:
                values, problem = _columns(role, source)
                files |= values
                problems += [f"Your own data, {_TABS[role]}: {problem}"] if problem else []
    return UserData(chosen, files, next(iter(problems), None))


def _source(role: str, known: Sequence[DatasetEntry], root: str) -> str:
    """Ask where the rows are: an upload, a path or a hub name, maybe of a known data set."""
    left, right = st.columns([1, 2])
    titles = {entry.name: f"{entry.name}: {entry.title}" for entry in known}
    name = left.selectbox(
        "Data set",
        [_NONE, *titles],
        format_func=lambda key: titles.get(key, "of my own"),
        key=f"run_dataset_{role}",
        persist_state=_KEEP,
        help="A data set of the field has its columns, labels and answer check mapped already. "
        "Without a file it is read from the hub.",
    )
    place = right.text_input(
        "File, or hf:OWNER/NAME:SPLIT",
        key=f"run_source_{role}",
        persist_state=_KEEP,
        placeholder="a path, or upload a file below",
    )
    st.file_uploader(
        f"Upload ({', '.join(TYPES)}; at most {MOST_MEGABYTES} MB; read as text, never run)",
        type=list(TYPES),
        max_upload_size=MOST_MEGABYTES,
        key=f"run_upload_{role}",
        on_change=_take,
        args=(role, root),
    )
    problem = st.session_state.get(f"run_upload_problem_{role}")
    if problem:
        st.error(plain(str(problem)))
    place = (place or "").strip()
    return f"{name}:{place}" if name and place else name or place


def _take(role: str, root: str) -> None:
    """Store an upload and name it as the source."""
    upload = st.session_state.get(f"run_upload_{role}")
    st.session_state.pop(f"run_upload_problem_{role}", None)
    if upload is None:
        return
    try:
        path = keep(Path(root), upload.name, upload.getvalue())
    except CwacError as problem:
        st.session_state[f"run_upload_problem_{role}"] = str(problem)
    else:
        st.session_state[f"run_source_{role}"] = str(path)


# Columns


def _columns(role: str, source: str) -> tuple[dict[str, str], str | None]:
    """Ask for the columns, show what they become; return the flags for them, and what is wrong."""
    try:
        names = _column_names(source, _stamp(source))
    except CwacError as problem:
        st.error(plain(str(problem)), icon="⚠️")
        return {} if role == "task" else {role: source}, str(problem)
    known = parse_source(source).dataset is not None
    picked = _pick(role, source, names, known=known)
    values = _values(role, source, picked)
    return values, _show(_described(role, tuple(sorted(values.items())), source, _stamp(source)))


def _pick(role: str, source: str, names: Sequence[str], *, known: bool) -> dict[str, str]:
    """Return the chosen columns, filter and check; what is left alone is not among them."""
    # Another file has other columns: its pickers are others, too.
    key = f"{role}_{zlib.crc32(repr((source, *names)).encode()):08x}"
    usual = "as the data set has it" if known else "the usual name"
    positions = [str(index) for index in range(len(names))]
    places = st.columns(4)
    bare = places[3].checkbox(
        "First row is data",
        key=f"run_bare_{key}",
        disabled=known,
        help="For CSV and TSV files without names: columns are then chosen by position.",
    )
    options = [_NONE, *(positions if bare else names)]

    def label(name: str) -> str:
        return f"column {int(name) + 1}" if bare and name else name or usual

    picked = {
        "prompt": places[0].selectbox(
            "Prompt column", options, format_func=label, key=f"run_prompt_{key}"
        )
    }
    if role != "lookalike":
        nothing = usual if known or role == "task" else "none"
        picked["answer"] = places[1].selectbox(
            "Answer column",
            options,
            format_func=lambda name: label(name) if name else nothing,
            key=f"run_answer_{key}",
        )
    if role == "task":
        picked["check"] = places[2].selectbox(
            "Answers are checked by",
            list(_CHECKS),
            format_func=_CHECKS.__getitem__,
            key=f"run_check_{key}",
        )
    else:
        where = places[2].text_input(
            "Only rows where", placeholder="column=value", key=f"run_where_{key}"
        )
        picked["where"] = (where or "").strip()
    return {name: value for name, value in picked.items() if value}


def _values(role: str, source: str, picked: Mapping[str, str]) -> dict[str, str]:
    """Return the values of flags that say the choice."""
    if role == "task":
        names = {"prompt": "prompt_column", "answer": "answer_column", "check": "check"}
        return {names[name]: value for name, value in picked.items()}
    # A column of requests stands behind its file.
    whole = f"{source}:{picked['prompt']}" if "prompt" in picked else source
    names = {"answer": f"{role}_answer_column", "where": f"{role}_where"}
    return {role: whole} | {names[n]: value for n, value in picked.items() if n in names}


def _stamp(source: str) -> int:
    """Return what changes when a file does: the cache must not outlive its contents."""
    try:
        return Path(parse_source(source).place).expanduser().stat().st_mtime_ns
    except (OSError, CwacError):
        return 0


@st.cache_data(max_entries=16, show_spinner="Reading the columns …")
def _column_names(source: str, stamp: int) -> list[str]:
    del stamp
    if parse_source(source).hub:
        # Reading the hub loads a large library: not into this process.
        (described,) = asking.data(("--task", source))
        if isinstance(described, BrokenSource):
            raise asking.AskingError(described.error)
        return list(described.columns)
    return columns_of(source)


@st.cache_data(max_entries=32, show_spinner="Reading the file …")
def _described(
    role: str, chosen: tuple[tuple[str, str], ...], source: str, stamp: int
) -> Source | BrokenSource:
    """Return what becomes of a source, as ``cwac preview --data-only`` says it."""
    del stamp
    values = dict(chosen) | ({"task": source} if role == "task" else {})
    if parse_source(source).hub:
        return asking.data(tuple(flags.words_of(values)))[0]
    plan = flags.Plan.of(values)
    return describe_sources(plan.section("prompts"), plan.section("task"), first=8)[0]


def _show(source: Source | BrokenSource) -> str | None:
    """Show the first rows as they will be used and what is left out; return what is wrong."""
    if isinstance(source, BrokenSource):
        st.error(plain(source.error), icon="⚠️")
        return source.error
    left = {
        "incomplete": source.empty_count,
        "repeated": source.repeated_count,
        f"not {source.where}": source.filtered,
    }
    out = ", ".join(f"{count} {reason}" for reason, count in left.items() if count)
    prompt = " + ".join(source.prompt)
    answer = f"; answer = {source.answer}" if source.answer else ""
    check = f"; answers checked by {source.check}" if source.check else ""
    choices = f" ({', '.join(source.choices)})" if source.choices else ""
    st.text(f"prompt = {prompt}{answer}{check}{choices}")
    if source.instruction:
        st.text(f"Above every prompt: {source.instruction}")
    st.text(f"{source.used} of {source.total} rows are used{f' ({out})' if out else ''}.")
    rows = pd.DataFrame([row.model_dump() for row in source.first])
    if source.role == "harmful" and "answer" in rows and not selection.current().reveal:
        rows["answer"] = rows["answer"].where(rows["answer"].isna(), HIDDEN)
    st.dataframe(
        rows.dropna(axis="columns", how="all").rename(columns=str.capitalize),
        hide_index=True,
        key=f"run_rows_{source.role}",
    )
    if not source.problems:
        return None
    told = f"{source.problem_count} rows cannot be used; the run would be refused."
    st.error(told, icon="⚠️")
    st.dataframe(
        pd.DataFrame([row.model_dump() for row in source.problems]).rename(columns=str.capitalize),
        hide_index=True,
        key=f"run_problems_{source.role}",
    )
    return told


FOLDER: Final = ".uploads"
MOST_MEGABYTES: Final = 50
TYPES: Final = ("csv", "tsv", "json", "jsonl", "parquet", "txt")


def keep(root: Path, name: str, content: bytes) -> Path:
    """Store an upload and return its path, which names its contents.

    The same contents under the same name are stored once; a job started from them reads what
    was previewed, whatever is uploaded later.

    Parameters
    ----------
    root : Path
        Folder of stored runs.
    name : str
        As the browser gives it; only a plain form of it is used.
    content : bytes
        The whole file.

    Raises
    ------
    DataError
        It is empty, too large, of a type that is not read, or cannot be stored.
    ReadOnlyError
        The app is read-only.
    """
    check_writable()
    suffix = Path(name).suffix.lower()
    if suffix.removeprefix(".") not in TYPES:
        raise DataError(f"{name!r} has type {suffix or 'none'!r}; allowed: {', '.join(TYPES)}.")
    if not content:
        raise DataError(f"{name!r} is empty.")
    if len(content) > MOST_MEGABYTES * 1_000_000:
        raise DataError(
            f"{name!r} has {len(content) / 1e6:.0f} MB; at most {MOST_MEGABYTES} MB are taken. "
            "Name a larger file by its path."
        )
    digest = hashlib.sha256(content).hexdigest()[:16]
    path = root.resolve() / FOLDER / digest / f"{slug(Path(name).stem)[:60]}{suffix}"
    if path.is_file() and path.stat().st_size == len(content):
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, content)
    except OSError as problem:
        raise DataError(f"{name!r} could not be stored: {problem.strerror}.") from None
    return path
