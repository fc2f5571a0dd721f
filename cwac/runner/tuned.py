"""A finished checkpoint that someone else trained: loading it, and whether it fits."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from torch import nn

from cwac.config import read_config_file
from cwac.errors import ModelError
from cwac.models.card import read_card
from cwac.models.checking import (
    check_adapter_folder,
    check_model_folder,
    check_shapes,
    check_weight_files,
    other_vocabulary,
    vocabulary_of,
)
from cwac.models.folders import ADAPTER, weights_folder
from cwac.models.loading import (
    LoadedModel,
    compute_in,
    load_tokenizer,
    load_weights,
    with_adapter,
)
from cwac.models.size import outline

_TOKENIZER: Final = ("tokenizer.json", "tokenizer_config.json")
_PREFIX: Final = "base_model.model."
"""What peft puts before the names of an adapter's weights."""


@dataclass(frozen=True)
class Tuned:
    """A tuned model, and what a reader of its numbers should know."""

    model: nn.Module
    notes: tuple[str, ...]


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds a peft adapter instead of a model."""
    return (folder / ADAPTER).is_file()


def check_fits(folder: Path, aligned: Path) -> None:
    """Refuse a checkpoint that is not of the aligned model, before minutes of work.

    Configurations, tokenizers and an adapter's shapes tell; last its weights are looked through.

    Parameters
    ----------
    folder : Path
        The checkpoint, or a peft adapter.
    aligned : Path
        The aligned model's folder.

    Raises
    ------
    ModelError
        It is no model or adapter that may be opened, a vocabulary (the sentence has both sizes) or
        another shape differs, or a tokenizer numbers its tokens differently.
    ArtifactError
        A weight is no finite number, or a model's are all zero.
    """
    home = weights_folder(aligned, read_card(aligned))
    model = outline(home)
    if is_adapter(folder):
        _check_adapter_shapes(folder, model)
    else:
        check_model_folder(folder)
        check_shapes(outline(folder), model, folder)
    _check_tokens(folder, load_tokenizer(home), vocabulary_of(model))
    check_weight_files(folder, model=not is_adapter(folder))


def check_base(folder: Path, aligned: Path) -> None:
    """Refuse what cannot be the model before alignment; errors as of :func:`check_fits`.

    Its tokenizer may differ: it is given no text.
    """
    card = read_card(folder)
    home = weights_folder(folder, card)
    check_model_folder(home)
    check_shapes(outline(home), outline(weights_folder(aligned, read_card(aligned))), folder)
    if home != folder:
        check_adapter_folder(folder)
    check_weight_files(folder, model=home == folder)


def _check_adapter_shapes(folder: Path, model: nn.Module) -> None:
    """Refuse an adapter that is for other maps, or brings embeddings of another vocabulary."""
    shapes = check_adapter_folder(folder)
    ours = {name: tuple(p.shape) for name, p in model.named_parameters()}
    rows = vocabulary_of(model)
    for key, shape in shapes.items():
        path, _, factor = key.removeprefix(_PREFIX).replace(".base_layer", "").partition(".lora_")
        aligned = ours.get(f"{path}.weight" if factor else path)
        if aligned is None or not shape:
            continue
        # Of a factor one side is the map's, the other the rank.
        reads = factor.startswith(("A", "embedding_A"))
        side = shape[-1] if reads else shape[0]
        if side in aligned if factor else shape == aligned:
            continue
        if aligned[0] == rows != side and (not factor or reads):
            raise other_vocabulary(folder, side, rows)
        raise ModelError(
            f"{folder} does not fit the aligned model: {key} has shape {shape}, the aligned "
            f"model's weight {aligned}."
        )


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


def _with_adapter(folder: Path, aligned: LoadedModel, notes: list[str]) -> nn.Module:
    named = str(read_config_file(folder / ADAPTER).get("base_model_name_or_path") or "")
    if named and Path(named).name != aligned.folder.name:
        notes.append(f"the adapter names {named!r} as its base; it was put on the aligned model.")
    return with_adapter(load_weights(aligned.folder, aligned.device), folder, aligned.device)


def _check_tokens(folder: Path, ours: Any, rows: int) -> Any:
    """Return a checkpoint's own tokenizer, None where it has none, if it says what ours says."""
    if not any((folder / name).is_file() for name in _TOKENIZER):
        return None
    theirs = load_tokenizer(folder)
    known, tokens = ours.get_vocab(), theirs.get_vocab()
    named = {number: token for token, number in known.items()}
    sizes = f"it has {len(tokens):,} tokens, the aligned model's {len(known):,}"
    for token, number in tokens.items():
        if known.get(token, number) != number:
            raise ModelError(
                f"{folder} numbers its tokens differently: {token!r} is {number} there and "
                f"{known[token]} in the aligned model ({sizes})."
            )
        if number >= rows or named.get(number, token) != token:
            ours_there = repr(named[number]) if number in named else "none"
            raise ModelError(
                f"{folder} has another tokenizer: number {number:,} is {token!r} there and "
                f"{ours_there} in the aligned model ({sizes})."
            )
    return theirs


def _tokenizer_notes(folder: Path, aligned: LoadedModel) -> list[str]:
    theirs = _check_tokens(folder, aligned.tokenizer, vocabulary_of(aligned.model))
    if theirs is not None and _template(theirs) not in {_template(aligned.tokenizer), ""}:
        return ["the checkpoint's own chat template differs; the aligned model's was used."]
    return []


def _template(tokenizer: Any) -> str:
    return str(tokenizer.chat_template or "")


def _is_same(model: nn.Module, aligned: nn.Module) -> bool:
    other = dict(aligned.named_parameters())
    return all(parameter.equal(other[name]) for name, parameter in model.named_parameters())
