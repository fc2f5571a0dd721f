"""Hugging Face hub: fetching a model's safe files, and what is wrong in one sentence if not."""

import os
from pathlib import Path
from typing import Any, Final

from cwac.errors import ModelError, first_line

PATIENCE: Final = 5.0
"""Seconds that the hub has to answer a first question; without one it is out of reach."""
# Everything a causal language model needs, and nothing that could run code.
FILES: Final = (
    "*.json", "*.safetensors", "*.jinja", "tokenizer.model", "vocab.txt", "merges.txt",
    "fits/*.parquet",
)  # fmt: skip
# A second copy of the weights, in the format of whoever trained them.
SECOND_COPIES: Final = ("original/*", "consolidated*", "onnx/*", "openvino/*")
_SAFE: Final = ".safetensors"
_UNSAFE: Final = (".bin", ".pt", ".pth", ".ckpt", ".gguf", ".h5", ".msgpack")


def is_offline() -> bool:
    """Whether the user asked for no network (``HF_HUB_OFFLINE`` or ``--offline``)."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def commit_of(folder: Path) -> str | None:
    """Return the commit that a folder of the hub's cache holds, None for any other folder."""
    return folder.name if folder.parent.name == "snapshots" else None


def hub_folder(hub_id: str, revision: str | None = None) -> Path:
    """Return the local folder of a hub model, downloaded where it is not in the cache.

    Offline the cache alone is read. Otherwise the hub is asked once, with a short patience,
    because its library would try again for minutes where there is no network.

    Raises
    ------
    ModelError
        There is no such model, it is gated or has no safetensors weights, or neither the hub
        nor the cache has it within reach.
    """
    if is_offline():
        return _download(hub_id, revision, why="HF_HUB_OFFLINE is set")
    names = _names(hub_id, revision)
    if names is None:
        return _download(hub_id, revision, why="the hub cannot be reached")
    _check_weights(hub_id, names)
    return _download(hub_id, revision, why=None)


def is_reached(hub_id: str) -> bool:
    """Ask the hub once for a repository; False where there is no answer in time.

    Raises
    ------
    ModelError
        The answer is that the repository cannot be had.
    """
    return _names(hub_id) is not None


def _names(hub_id: str, revision: str | None = None) -> list[str] | None:
    """Return a repository's files, None where the hub does not answer in time."""
    from huggingface_hub import HfApi  # noqa: PLC0415 - needed for hub ids only

    try:
        info = HfApi().model_info(hub_id, timeout=PATIENCE, **_of(revision))
    except _failures() as problem:
        sentence = _refused(hub_id, problem, revision)
        if sentence is None:
            return None
        raise ModelError(sentence) from None
    return [str(file.rfilename) for file in info.siblings or ()]


def _of(revision: str | None) -> dict[str, Any]:
    return {} if revision is None else {"revision": revision}


def _failures() -> tuple[type[BaseException], ...]:
    """Return what the hub's library raises, its HTTP client's errors among it."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError  # noqa: PLC0415

    # Versions of the library use different clients; their common error is a base of its own.
    return (*HfHubHTTPError.__bases__, HFValidationError)


def _check_weights(hub_id: str, names: list[str]) -> None:
    if not names or any(name.endswith(_SAFE) for name in names):
        return
    others = sorted(name for name in names if name.endswith(_UNSAFE))
    shown = f"it has {', '.join(others[:3])}" if others else "it has no weights"
    raise ModelError(f"the hub model {hub_id!r} has no {_SAFE} weights ({shown}).")


def _refused(hub_id: str, problem: BaseException, revision: str | None = None) -> str | None:
    """Return what the hub's answer means, None where it gave none."""
    from huggingface_hub.errors import (  # noqa: PLC0415
        DisabledRepoError,
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if isinstance(problem, GatedRepoError):
        return (
            f"the hub model {hub_id!r} is gated: accept its terms on its page, then log in with "
            "'hf auth login'."
        )
    if isinstance(problem, RevisionNotFoundError):
        return f"the hub model {hub_id!r} has no revision {revision!r}."
    if isinstance(problem, DisabledRepoError):
        return f"the hub model {hub_id!r} was disabled by the hub."
    if isinstance(problem, RepositoryNotFoundError | HFValidationError):
        return (
            f"there is no folder and no public hub model {hub_id!r} (a private one needs "
            "'hf auth login')."
        )
    return None


def _download(hub_id: str, revision: str | None = None, *, why: str | None) -> Path:
    """Fetch a model's files; with a reason (`why`) not to, look into the cache alone."""
    from huggingface_hub import snapshot_download  # noqa: PLC0415

    wanted: dict[str, Any] = {
        "allow_patterns": list(FILES),
        "ignore_patterns": list(SECOND_COPIES),
        "local_files_only": why is not None,
        **_of(revision),
    }
    try:
        return Path(snapshot_download(hub_id, **wanted))
    except _failures() as problem:
        sentence = _refused(hub_id, problem, revision)
        if sentence is None:
            reason = why or f"the download failed: {first_line(problem)}"
            sentence = (
                f"no folder {hub_id!r}, and no hub model of that name in the local cache "
                f"({reason})."
            )
        raise ModelError(sentence) from None
