"""Whether a folder holds a model or an adapter that may be opened, and a model that computes.

A folder may be anybody's. What a library would do with it (run code, fetch what it names, wait for
a pipe, build for hours) is refused here, before a library sees it.
"""

import dataclasses
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, cast

import torch
from torch import nn

from cwac.artifacts import open_weights, reading, tensor_shapes
from cwac.bounded import TooMuchError, interrupted_after
from cwac.config import read_config_file
from cwac.errors import ModelError, first_line
from cwac.intake import shown
from cwac.models.card import WEIGHT_SUFFIXES, check_plain_files
from cwac.models.folders import ADAPTER, ADAPTER_WEIGHTS

_WEIGHT_NAMES: Final = (".safetensors", ".safetensors.index.json")
_PLAIN_LORA: Final = frozenset({
    "peft_type", "base_model_name_or_path", "revision", "task_type", "inference_mode",
    "peft_version", "auto_mapping", "r", "rank_pattern", "lora_alpha", "alpha_pattern",
    "lora_dropout", "bias",
    "lora_bias", "use_rslora", "use_dora", "fan_in_fan_out", "init_lora_weights", "target_modules",
    "exclude_modules", "target_parameters", "layers_to_transform", "layers_pattern",
    "modules_to_save", "trainable_token_indices", "ensure_weight_tying", "megatron_core",
    "qalora_group_size",
})  # fmt: skip
"""Settings of peft's LoRA under which its weights are all that it brings."""
_PATTERNS: Final = ("target_modules", "exclude_modules", "layers_pattern")
_LONGEST: Final = 10_000
"""Characters of all patterns of an adapter."""
_MOST_SECONDS: Final = 10
"""What trying an adapter's patterns on the names of a model's maps may take."""


def check_model_folder(folder: Path) -> None:
    """Refuse a folder that holds no model which may be loaded, before anything is.

    Raises
    ------
    ModelError
        The configuration or the safetensors weights are missing, it needs code of its own, one of
        its files cannot be read to its end, or its weights would come from other files than its
        own ``.safetensors``.
    """
    check_plain_files(folder)
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} is not a model folder: config.json is missing.")
    if not any(path.suffix in WEIGHT_SUFFIXES for path in folder.iterdir()):
        other = [p.name for p in folder.iterdir() if p.suffix in {".bin", ".pt", ".pth", ".gguf"}]
        held = f"it has {', '.join(sorted(other))}" if other else "it has no weights"
        raise ModelError(f"{folder} has no .safetensors weights ({held}).")
    settings = read_config_file(folder / "config.json")
    if "auto_map" in settings and not _is_known(str(settings.get("model_type"))):
        raise ModelError(f"{folder} needs code from its own repository, which is never run.")
    if (folder / ADAPTER).is_file():
        # Transformers would load the base that the adapter names instead of these weights.
        raise ModelError(f"{folder} is an adapter ({ADAPTER}); name the model that it is for.")
    named = {str(settings.get("transformers_weights") or "model.safetensors")}
    for index in sorted(folder.glob("*.index.json")):
        mapped = read_config_file(index).get("weight_map")
        if not isinstance(mapped, dict) or not mapped:
            raise ModelError(f"{index} maps no weights to files.")
        named |= {str(name) for name in mapped.values()}
    for name in sorted(named):
        if Path(name).name != name or "\\" in name or not name.endswith(_WEIGHT_NAMES):
            raise ModelError(
                f"{folder} names {shown(name)} for its weights; allowed: .safetensors files in it."
            )


def _is_known(model_type: str) -> bool:
    from transformers import CONFIG_MAPPING  # noqa: PLC0415 - 1 s

    return model_type in CONFIG_MAPPING


def check_adapter_folder(folder: Path) -> Mapping[str, tuple[int, ...]]:
    """Refuse a peft adapter that is more than low-rank factors in a file of its own.

    Other kinds load further files or fetch them, import what they name or build layers anew.

    Returns
    -------
    mapping of str to tuple of int
        The shapes of its weights by their names.

    Raises
    ------
    ModelError
        One sentence with the setting.
    ArtifactError
        Its weights cannot be read.
    """
    check_plain_files(folder)
    if not (folder / ADAPTER_WEIGHTS).is_file():
        raise ModelError(f"the adapter {folder} has no {ADAPTER_WEIGHTS}.")
    settings = read_config_file(folder / ADAPTER)
    if settings.get("peft_type") != "LORA":
        kind = shown(settings.get("peft_type"))
        raise ModelError(f"the adapter {folder} has peft_type = {kind}; allowed: 'LORA'.")
    for name, usual in _unusual_lora().items():
        if settings.get(name) not in (None, usual):
            raise ModelError(
                f"the adapter {folder} has {name} = {shown(settings[name])}, which is not allowed: "
                "only what plain LoRA needs is."
            )
    _patterns_of(folder, settings)
    with reading(f"the adapter {folder}"):
        shapes = tensor_shapes(folder / ADAPTER_WEIGHTS)
    _check_ranks(folder, settings, shapes)
    return shapes


def _unusual_lora() -> dict[str, Any]:
    """Return the further settings of the installed peft's LoRA, with what they usually are."""
    from peft import LoraConfig  # noqa: PLC0415 - 2 s

    usual = {}
    for field in dataclasses.fields(LoraConfig):
        if field.name not in _PLAIN_LORA:
            make = field.default_factory
            usual[field.name] = make() if callable(make) else field.default
    return usual


def check_adapter_patterns(folder: Path, names: Iterable[str]) -> None:
    """Refuse an adapter whose patterns are tried on the names of a model's parts for ever.

    Raises
    ------
    ModelError
        Names the pattern.
    """
    names = list(names)
    for field, pattern in _patterns_of(folder, read_config_file(folder / ADAPTER)):
        # The library puts such a beginning before those that it searches for.
        tried = re.compile(rf"(.*\.)?({pattern})$")
        try:
            with interrupted_after(_MOST_SECONDS):
                for name in names:
                    tried.fullmatch(name)
        except TooMuchError as problem:
            raise ModelError(
                f"the adapter {folder}: the pattern {field} = {shown(pattern)} takes {problem} on "
                "the names of the model's parts."
            ) from None


def _patterns_of(folder: Path, settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the regular expressions of an adapter with their settings; all are such."""
    parts = [(name, settings.get(name)) for name in _PATTERNS]
    patterns = [(name, part) for name, part in parts if isinstance(part, str)]
    for name in ("rank_pattern", "alpha_pattern"):
        given = settings.get(name) or {}
        if not isinstance(given, dict):
            raise ModelError(f"the adapter {folder}: {name} = {shown(given)} must be a table.")
        patterns += [(name, pattern) for pattern in given]
    if isinstance(layers := settings.get("layers_pattern"), list):
        patterns += [("layers_pattern", str(pattern)) for pattern in layers]
    if sum(len(pattern) for _, pattern in patterns) > _LONGEST:
        raise ModelError(f"the adapter {folder} has patterns of more than {_LONGEST:,} characters.")
    for name, pattern in patterns:
        try:
            re.compile(rf"(.*\.)?({pattern})$")
        except (re.error, RecursionError, OverflowError) as problem:
            raise ModelError(
                f"the adapter {folder}: the pattern {name} = {shown(pattern)} is broken: "
                f"{first_line(problem)}."
            ) from None
    return patterns


def _check_ranks(
    folder: Path, settings: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]
) -> None:
    """Refuse a rank above that of the factors, for which the library would take memory first."""
    largest = max(
        (shape[0] for key, shape in shapes.items()
         if ".lora_" in key and "A" in key.partition(".lora_")[2] and shape and 0 not in shape),
        default=0,
    )  # fmt: skip
    if not largest:
        raise ModelError(f"the adapter {folder} holds no factors in {ADAPTER_WEIGHTS}.")
    for rank in (settings.get("r", 8), *(settings.get("rank_pattern") or {}).values()):
        if not isinstance(rank, int) or isinstance(rank, bool) or not 1 <= rank <= largest:
            raise ModelError(
                f"the adapter {folder} has rank {shown(rank)}; allowed: a whole number from 1 to "
                f"that of its factors, {largest:,}."
            )


def check_weight_files(folder: Path, *, model: bool) -> None:
    """Refuse what :func:`check_weights` would, from the files alone.

    Parameters
    ----------
    folder : Path
    model : bool
        Whether they are a model's and not an adapter's, which may begin as zeros.

    Raises
    ------
    ArtifactError
        Names the file.
    """
    for path in sorted(folder.glob("*.safetensors")):
        open_weights(path, f"{folder}: {path.name}", model=model)


def check_weights(model: nn.Module, folder: Path) -> None:
    """Refuse a model that computes nothing: weights that are no numbers, or nothing but zeros.

    Raises
    ------
    ModelError
        Names the first such weight.
    """
    zero = True
    for name, parameter in model.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            raise ModelError(f"{folder}: {name} holds values that are no finite numbers.")
        zero = zero and not bool(parameter.any())
    if zero:
        raise ModelError(f"{folder}: all its weights are zero.")


def check_vocabulary(model: nn.Module, tokenizer: Any, folder: Path) -> None:
    """Refuse a tokenizer with a token that the model has no embedding of.

    Raises
    ------
    ModelError
        Says how many tokens each of them has.
    """
    rows = vocabulary_of(model)
    last = max(tokenizer.get_vocab().values(), default=-1)
    if last >= rows:
        raise ModelError(
            f"{folder}: its tokenizer numbers tokens up to {last:,}, and the model has {rows:,}."
        )


def vocabulary_of(model: nn.Module) -> int:
    """Return how many tokens a model has embeddings of."""
    return int(cast(Any, model).get_input_embeddings().weight.shape[0])


def check_shapes(model: nn.Module, aligned: nn.Module, folder: Path) -> None:
    """Refuse a model whose weights do not stand for the same maps as the aligned model's.

    Raises
    ------
    ModelError
        A weight is missing, additional, or of another shape.
    """
    theirs = {name: tuple(p.shape) for name, p in model.named_parameters()}
    ours = {name: tuple(p.shape) for name, p in aligned.named_parameters()}
    if (rows := vocabulary_of(model)) != vocabulary_of(aligned):
        raise other_vocabulary(folder, rows, vocabulary_of(aligned))
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


def other_vocabulary(folder: Path, theirs: int, ours: int) -> ModelError:
    """Return what is raised where the vocabularies of two models differ."""
    return ModelError(
        f"{folder} does not fit the aligned model: its vocabulary has {theirs:,} tokens, the "
        f"aligned model's {ours:,}."
    )
