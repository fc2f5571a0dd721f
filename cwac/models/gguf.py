"""GGUF files: dequantised once into a folder that every other part takes for an ordinary model.

The folder lies in a cache under the file's SHA-256; its card says which file it came from.
"""

import contextlib
import io
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import torch

from cwac.artifacts import sweep, temporary_name, write_text
from cwac.errors import ModelError, first_line
from cwac.intake import is_plain_file
from cwac.models.card import CARD, file_digest
from cwac.records import WeightsOrigin
from cwac.sources import split_gguf

_MAGIC: Final = b"GGUF"
_PLAIN: Final = frozenset({"F64", "F32", "F16", "BF16"})
"""Types of tensors that are not quantised."""


def cache_folder() -> Path:
    """Return where made folders are kept: ``CWAC_CACHE``, else the user's usual cache."""
    stated = os.environ.get("CWAC_CACHE")
    if stated:
        return Path(stated).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "cwac-lab"


def absolute_gguf(source: str) -> str:
    """Return a source with its GGUF file as an absolute path; any other as it is."""
    parts = split_gguf(source)
    if parts is None:
        return source
    model, file = parts
    # A folder may stand before the file too.
    folder = Path(model).expanduser()
    model = str(folder.resolve()) if model and folder.is_dir() else model
    return ":".join(filter(None, (model, str(file.expanduser().absolute()))))


def cached_gguf(contents: str) -> Path | None:
    """Return the folder made of the GGUF file whose hash begins so, None where none was."""
    folder = cache_folder() / "gguf" / contents
    return folder if (folder / CARD).is_file() else None


def gguf_folder(file: Path) -> Path:
    """Return the folder of a GGUF file's weights, dequantised where the cache lacks them.

    Raises
    ------
    ModelError
        It is no GGUF file, the package ``gguf`` is not installed, or its model is unknown.
    """
    file = file.expanduser().absolute()
    # What was killed left gigabytes.
    sweep(cache_folder() / "gguf")
    sha256 = _hash(file)
    folder = cached_gguf(sha256[:16])
    if folder is not None:
        return folder
    folder = cache_folder() / "gguf" / sha256[:16]
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = temporary_name(folder)
        made.mkdir()
    except OSError as problem:
        raise ModelError(
            f"the cache {folder.parent} cannot be written ({first_line(problem)}); CWAC_CACHE "
            "names another folder."
        ) from None
    try:
        _dequantise(file, sha256, made)
        # Another process may have been faster; its folder holds the same.
        with contextlib.suppress(OSError):
            made.rename(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return folder


def _hash(file: Path) -> str:
    if not is_plain_file(file):
        raise ModelError(f"there is no file {file}.")
    with file.open("rb") as opened:
        if opened.read(len(_MAGIC)) != _MAGIC:
            raise ModelError(f"{file} is no GGUF file: it does not begin with 'GGUF'.")
    status = file.stat()
    return file_digest(file, status.st_mtime_ns, status.st_size)


def _dequantise(file: Path, sha256: str, folder: Path) -> None:
    """Write the folder: float32 weights, configuration, tokenizer, card."""
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415 - 1 s
    from transformers.utils import logging  # noqa: PLC0415

    # Alone in a folder: the library would also read an adapter or a configuration beside it.
    with tempfile.TemporaryDirectory() as alone, _read_once() as reader_of:
        (Path(alone) / "model.gguf").symlink_to(file)
        wanted: dict[str, Any] = {
            "gguf_file": "model.gguf",
            "local_files_only": True,
        }
        logging.disable_progress_bar()
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                model, report = AutoModelForCausalLM.from_pretrained(
                    alone,
                    dtype=torch.float32,
                    output_loading_info=True,
                    trust_remote_code=False,
                    **wanted,
                )
                tokenizer = AutoTokenizer.from_pretrained(alone, trust_remote_code=False, **wanted)
            quantisation = _quantisation(reader_of(Path(alone) / "model.gguf"))
        except Exception as problem:
            # What a damaged file or an unknown architecture makes the libraries raise is no
            # fixed list, and may speak of the folder that it stands in for them.
            reason = first_line(problem).replace(f"{alone}/model.gguf", file.name)
            raise ModelError(
                f"{file} cannot be read; it is cut, damaged or of an unknown architecture: "
                f"{reason}."
            ) from None
    if missing := sorted(report["missing_keys"]):
        raise ModelError(f"{file} lacks {len(missing)} weights, {missing[0]} among them.")
    # The weights are ordinary ones now, which the library does not see.
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    origin = WeightsOrigin(file=file.name, sha256=sha256, quantisation=quantisation)
    # Written last: with it the folder is whole.
    card = {"schema": 1, "origin": origin.model_dump(mode="json")}
    write_text(folder / CARD, json.dumps(card, indent=2) + "\n")


@contextlib.contextmanager
def _read_once() -> Iterator[Any]:
    """Let the library parse a file once; it would three times, several seconds each.

    Raises
    ------
    ModelError
        The package ``gguf`` is not installed.
    """
    try:
        import gguf  # noqa: PLC0415 - an extra
    except ImportError:
        raise ModelError(
            "reading a GGUF file needs the package gguf: pip install 'cwac-lab[gguf]'."
        ) from None
    kind = gguf.GGUFReader
    known: dict[str, Any] = {}

    def reader_of(path: Any, *arguments: Any, **named: Any) -> Any:
        if str(path) not in known:
            known[str(path)] = kind(path, *arguments, **named)
        return known[str(path)]

    gguf.GGUFReader = reader_of
    try:
        yield reader_of
    finally:
        gguf.GGUFReader = kind


def _quantisation(reader: Any) -> str:
    """Return the type of most of the weights, as GGUF names it: ``Q4_1``, ``F16``."""
    sizes: Counter[str] = Counter()
    for tensor in reader.tensors:
        sizes[tensor.tensor_type.name] += int(tensor.n_elements)
    quantised = Counter({name: size for name, size in sizes.items() if name not in _PLAIN})
    return (quantised or sizes).most_common(1)[0][0]
