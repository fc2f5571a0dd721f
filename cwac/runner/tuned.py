"""A finished checkpoint that someone else trained: loading it, and whether it fits."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from torch import nn

from cwac.config import read_config_file
from cwac.errors import ModelError
from cwac.models.loading import (
    ADAPTER,
    LoadedModel,
    compute_in,
    load_tokenizer,
    load_weights,
    with_adapter,
)

_TOKENIZER: Final = ("tokenizer.json", "tokenizer_config.json")


@dataclass(frozen=True)
class Tuned:
    """A tuned model, and what a reader of its numbers should know."""

    model: nn.Module
    notes: tuple[str, ...]


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds a peft adapter instead of a model."""
    return (folder / ADAPTER).is_file()


def load_tuned(folder: Path, aligned: LoadedModel) -> Tuned:
    """Load a checkpoint, or the aligned model with a peft adapter merged into it.

    The weights are float32; passes compute in the aligned model's precision, as its own did.

    Raises
    ------
    ModelError
        A file is missing or broken, a weight has another name or shape than in the aligned
        model, or the tokenizers disagree.
    """
    notes: list[str] = []
    if is_adapter(folder):
        model = _with_adapter(folder, aligned, notes)
    else:
        model = load_weights(folder, aligned.device)
    check_shapes(model, aligned.model, folder)
    compute_in(model, aligned.precision, aligned.device)
    notes += _tokenizer_notes(folder, aligned)
    if _is_same(model, aligned.model):
        notes.append(f"the weights in {folder.name} equal the aligned model's.")
    return Tuned(model, tuple(notes))


def check_shapes(model: nn.Module, aligned: nn.Module, folder: Path) -> None:
    """Refuse a model whose weights do not stand for the same maps as the aligned model's.

    Raises
    ------
    ModelError
        A weight is missing, additional, or of another shape.
    """
    theirs = {name: tuple(p.shape) for name, p in model.named_parameters()}
    ours = {name: tuple(p.shape) for name, p in aligned.named_parameters()}
    for name, shape in ours.items():
        if name not in theirs:
            raise ModelError(f"{folder} does not fit the aligned model: it has no {name}.")
        if theirs[name] != shape:
            raise ModelError(
                f"{folder} does not fit the aligned model: {name} has shape {theirs[name]}, "
                f"the aligned model's {shape}."
            )
    for name in theirs:
        if name not in ours:
            raise ModelError(f"{folder} does not fit the aligned model, which has no {name}.")


def _with_adapter(folder: Path, aligned: LoadedModel, notes: list[str]) -> nn.Module:
    named = str(read_config_file(folder / ADAPTER).get("base_model_name_or_path") or "")
    if named and Path(named).name != aligned.folder.name:
        notes.append(f"the adapter names {named!r} as its base; it was put on the aligned model.")
    return with_adapter(load_weights(aligned.folder, aligned.device), folder, aligned.device)


def _tokenizer_notes(folder: Path, aligned: LoadedModel) -> list[str]:
    if not any((folder / name).is_file() for name in _TOKENIZER):
        return []
    theirs, ours = load_tokenizer(folder), aligned.tokenizer
    known: dict[str, int] = ours.get_vocab()
    for token, number in theirs.get_vocab().items():
        if known.get(token, number) != number:
            raise ModelError(
                f"{folder} numbers its tokens differently: {token!r} is {number} there and "
                f"{known[token]} in the aligned model."
            )
    if _template(theirs) not in {_template(ours), ""}:
        return ["the checkpoint's own chat template differs; the aligned model's was used."]
    return []


def _template(tokenizer: Any) -> str:
    return str(tokenizer.chat_template or "")


def _is_same(model: nn.Module, aligned: nn.Module) -> bool:
    other = dict(aligned.named_parameters())
    return all(parameter.equal(other[name]) for name, parameter in model.named_parameters())
