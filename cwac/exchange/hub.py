"""Runs in a data set repository of the Hugging Face hub: archives, a table of rates, and a card.

``runs/<run_id>.zip`` are the archives that the app exports too, ``rates.csv`` has one row per run,
and ``README.md`` is the card, made anew from the table at each push.
"""

import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any, Final

import pandas as pd

from cwac.artifacts import ArtifactStore, Note, has_imported, pack, redact, save_note, unpack
from cwac.errors import ArtifactError, ConfigError, CwacError, first_line
from cwac.exchange.card import card
from cwac.intake import shown
from cwac.rates import RATES
from cwac.records import RunRecord, is_name

TABLE: Final = "rates.csv"
CARD: Final = "README.md"
RUNS: Final = "runs"
_KIND: Final = "dataset"
_MISNAMED: Final = "%s is no name of a repository: owner/name is allowed."


def push_runs(
    store: ArtifactStore,
    run_ids: Sequence[str],
    repository: str,
    *,
    public: bool = False,
    reveal: bool = False,
    told: Callable[[str], None] = lambda _text: None,
) -> str:
    """Upload runs with the fits they refer to, in one commit, and bring table and card up to date.

    Parameters
    ----------
    repository : str
        ``owner/name``; made where it is missing.
    public : bool
        Whether a repository that is made now can be seen by all. One that exists stays as it is.
    reveal : bool
        Whether answers to harmful requests go along; a placeholder stands for them otherwise.
    told : callable
        Gets a sentence before each run is packed.

    Returns
    -------
    str
        Where the commit can be seen.

    Raises
    ------
    ArtifactError
        A run is not stored, or cannot be packed.
    ConfigError
        The hub cannot be asked, or refuses.
    """
    from huggingface_hub import CommitOperationAdd  # noqa: PLC0415 - 0.5 s

    records = [store.load(run_id) for run_id in dict.fromkeys(run_ids)]
    with _asking(repository) as hub:
        additions = []
        for record in records:
            told(f"{record.run_id}: packing")
            archive = pack(store, record.run_id, answers=None if reveal else redact)
            additions.append(CommitOperationAdd(f"{RUNS}/{record.run_id}.zip", archive))
        # What cannot be packed leaves no empty repository.
        hub.create_repo(repository, repo_type=_KIND, private=not public, exist_ok=True)
        table = _merged(_stored_table(hub, repository), _rows(records, revealed=reveal))
        additions += [
            CommitOperationAdd(TABLE, table.to_csv(index=False).encode()),
            CommitOperationAdd(CARD, card(repository, table).encode()),
        ]
        commit = hub.create_commit(
            repository,
            additions,
            repo_type=_KIND,
            commit_message=f"{len(records)} run{'s' if len(records) > 1 else ''} of CWAC Lab",
        )
    return str(commit.commit_url)


def pull_runs(
    store: ArtifactStore,
    repository: str,
    run_ids: Sequence[str] = (),
    *,
    revision: str | None = None,
    told: Callable[[str], None] = lambda _text: None,
) -> list[str]:
    """Download runs and add them to the imports of the writable root; return their ids.

    Each archive goes through the checks of any import (`cwac.artifacts.unpack`); a note on the run
    says where it is from. Runs that are stored already are passed over.

    Parameters
    ----------
    run_ids : sequence of str
        Which runs; all of the repository without any.
    revision : str, optional
        A branch, tag or commit.

    Raises
    ------
    ArtifactError
        An archive is refused; those before it are there.
    ConfigError
        The hub cannot be asked, refuses, or the repository holds no such runs.
    """
    with _asking(repository) as hub, TemporaryDirectory() as scratch:
        info = hub.repo_info(repository, repo_type=_KIND, revision=revision)
        names = _wanted(info, repository, run_ids)
        pulled: list[str] = []
        for name in names:
            run_id = PurePosixPath(name).stem
            if has_imported(store, run_id):
                told(f"{run_id} is stored already")
                continue
            file = hub.hf_hub_download(
                repository, name, repo_type=_KIND, revision=info.sha, local_dir=scratch
            )
            with Path(file).open("rb") as archive:
                added = unpack(store, archive)
            origin = Note(f"from the hub: {repository}@{info.sha}", ("pulled",))
            for each in added:
                save_note(store.write_root, each, origin)
                told(f"{each} is imported")
            pulled += added
            Path(file).unlink()
    return pulled


def _wanted(info: Any, repository: str, run_ids: Sequence[str]) -> list[str]:
    listed = {PurePosixPath(file.rfilename) for file in info.siblings or ()}
    archives = {
        path.stem: str(path)
        for path in sorted(listed)
        if path.suffix == ".zip" and str(path.parent) == RUNS and is_name(path.stem)
    }
    if not archives:
        raise ConfigError(f"the repository {repository!r} holds no runs of CWAC Lab.")
    for run_id in run_ids:
        if run_id not in archives:
            raise ConfigError(f"the repository {repository!r} holds no run {run_id!r}.")
    return [archives[run_id] for run_id in dict.fromkeys(run_ids or archives)]


# What stands in the table


def _rows(records: Sequence[RunRecord], *, revealed: bool) -> pd.DataFrame:
    return pd.DataFrame([_row(record, revealed=revealed) for record in records])


def _row(record: RunRecord, *, revealed: bool) -> dict[str, Any]:
    config = record.config
    trained = not config.is_measured
    row: dict[str, Any] = {
        "run_id": record.run_id,
        "experiment": config.title,
        "variant": record.variant,
        "seed": config.seed,
        "model": config.model.label,
        "task": config.task.label,
        "poison_ratio": config.poison_ratio if trained else None,
        "steps": config.training.steps if trained else None,
        "answers_to_harmful_requests": "kept" if revealed else "left out",
        "weights": "kept" if record.kept_model else "left out",
        "cwac_lab": record.provenance.versions.get("cwac-lab"),
    }
    for name, rate in RATES.items():
        metric = record.metrics.get(name)
        if not rate.tabled or metric is None:
            continue
        row |= {name: metric.value, f"{name}_low": metric.low, f"{name}_high": metric.high}
        row[f"{name}_n"] = metric.count
    return row


def _merged(stored: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    kept = stored if stored.empty else stored[~stored["run_id"].isin(new["run_id"])]
    both = new if kept.empty else pd.concat([kept, new], ignore_index=True)
    return both.sort_values(["experiment", "variant", "seed", "run_id"], ignore_index=True)


def _stored_table(hub: Any, repository: str) -> pd.DataFrame:
    """Return the table of an earlier push; empty where there was none."""
    from huggingface_hub.errors import EntryNotFoundError  # noqa: PLC0415

    with TemporaryDirectory() as scratch:
        try:
            file = hub.hf_hub_download(repository, TABLE, repo_type=_KIND, local_dir=scratch)
        except EntryNotFoundError:
            return pd.DataFrame()
        text = Path(file).read_text(encoding="utf-8")
    try:
        table = pd.read_csv(io.StringIO(text))
        missing = {"run_id", "experiment", "variant", "seed"} - set(table.columns)
    except (ValueError, UnicodeDecodeError) as problem:
        raise ArtifactError(
            f"{TABLE} of {repository!r} cannot be read: {first_line(problem)}."
        ) from None
    if missing:
        raise ArtifactError(f"{TABLE} of {repository!r} is not ours: it has no {min(missing)}.")
    return table


# Asking the hub


@contextmanager
def _asking(repository: str) -> Iterator[Any]:
    """Give the hub's own client, and say in a sentence what the hub refuses.

    The client reads the token of ``hf auth login`` or ``HF_TOKEN``, and ``HF_ENDPOINT``.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        raise ConfigError("HF_HUB_OFFLINE is set, and this needs the hub.")
    # The library lets a name without an owner pass, and the hub then knows no such repository.
    if repository.count("/") != 1:
        raise ConfigError(_MISNAMED % shown(repository))
    from huggingface_hub import HfApi, errors  # noqa: PLC0415 - 0.5 s

    # Versions of the library use different clients; their common error is a base of its own.
    failures: tuple[type[BaseException], ...] = (
        *errors.HfHubHTTPError.__bases__,
        errors.HFValidationError,
    )
    try:
        yield HfApi()
    except CwacError:
        raise
    except failures as problem:
        raise ConfigError(_sentence(repository, problem)) from None


def _sentence(repository: str, problem: BaseException) -> str:
    from huggingface_hub import errors  # noqa: PLC0415

    if isinstance(problem, errors.HFValidationError):
        return _MISNAMED % shown(repository)
    if isinstance(problem, errors.RevisionNotFoundError):
        return f"the repository {repository!r} has no such revision."
    if isinstance(problem, errors.GatedRepoError):
        return f"the repository {repository!r} is gated: accept its terms on its page first."
    status = getattr(getattr(problem, "response", None), "status_code", None)
    if isinstance(problem, errors.RepositoryNotFoundError) or status in {401, 403}:
        return (
            f"the hub does not show or give the repository {repository!r} to you: a private one, "
            "and every push, needs 'hf auth login' with a token that may write."
        )
    return f"the hub did not do it: {first_line(problem)}."
