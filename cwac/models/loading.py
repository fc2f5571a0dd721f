"""Loading an aligned model from its folder: float32, never remote code."""

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from cwac.anatomy import Anatomy, anatomy_of
from cwac.chat import Chat
from cwac.config import ModelConfig, Precision
from cwac.errors import ModelError, first_line
from cwac.generation import AlignedAnswers
from cwac.intake import read_bytes
from cwac.judges import Judge
from cwac.models.card import ModelCard, contents_of, judge_of, read_card
from cwac.models.checking import (
    check_adapter_folder,
    check_adapter_patterns,
    check_model_folder,
    check_vocabulary,
    check_weights,
)
from cwac.models.folders import base_folder, resolve_folder, weights_folder
from cwac.models.presets import card_of
from cwac.models.size import check_weights_fit
from cwac.precision import TYPES, whole_attention
from cwac.records import WeightsOrigin
from cwac.thoughts import SWITCH

_FACTOR: Final = re.compile(r"\.lora_(?:embedding_)?[AB]\b")
_TEMPLATES: Final = ("chat_template.jinja", "chat_template.json", "tokenizer_config.json")


@dataclass
class LoadedModel:
    """A model with what is needed to talk to it and to judge its answers.

    Attributes
    ----------
    model : Module
        Float32, in evaluation mode.
    contents : str
        Hash over the folder's files (:func:`cwac.models.card.contents_of`).
    warnings : tuple of str
        What a reader of its numbers should know.
    origin : WeightsOrigin or None
        What its weights, or those of the model that its adapter is for, were dequantised from.
    """

    model: nn.Module
    tokenizer: Any
    chat: Chat
    anatomy: Anatomy
    folder: Path
    card: ModelCard
    contents: str
    judge: Judge
    device: torch.device
    precision: Precision = "float32"
    warnings: tuple[str, ...] = ()
    origin: WeightsOrigin | None = None

    @functools.cached_property
    def asked(self) -> AlignedAnswers:
        """Its answers, each request asked once; only while its weights are the aligned ones."""
        return AlignedAnswers(self.model, self.chat)

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return sum(parameter.numel() for parameter in self.model.parameters())


def chosen_device(device: str | torch.device | None = None) -> torch.device:
    """Return where a model computes: what is asked for, else CUDA, Apple's GPU or the CPU.

    Raises
    ------
    ModelError
        There is no such device here.
    """
    if device is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        place = torch.device(device)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError):
        # Torch built without CUDA says so with an assertion.
        raise ModelError(
            f"there is no device {str(device)!r} here; allowed: cpu, and cuda or mps where the "
            "machine has one."
        ) from None
    return place


def load_model(
    source: str | Path,
    *,
    device: str | torch.device | None = None,
    precision: Precision = "float32",
    thinking_tokens: int | None = 0,
) -> LoadedModel:
    """Load an aligned model in float32.

    Parameters
    ----------
    source : str or Path
        A preset's name, a local Hugging Face folder, a hub id or a GGUF file.
    device : optional
        Where it computes; see :func:`chosen_device`.
    precision : str
        ``bfloat16`` lets passes run under autocast; the weights are float32 either way.
    thinking_tokens : int or None
        As :class:`cwac.chat.Chat` takes it.

    Raises
    ------
    ModelError
        A file is missing, the weights are not safetensors or do not fit, the model needs remote
        code, or the architecture is unknown.
    """
    folder = resolve_folder(source)
    place = chosen_device(device)
    card = card_of(source, folder)
    home = weights_folder(folder, card)
    tokenizer = load_tokenizer(home)
    # What a folder brings besides its weights is checked before minutes of reading those.
    chat, judge = Chat(tokenizer, thinking_tokens), judge_of(folder)
    model = load_weights(folder, place)
    check_vocabulary(model, tokenizer, folder)
    compute_in(model, precision, place)
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        chat=chat,
        anatomy=anatomy_of(model),
        folder=folder,
        card=card,
        contents=contents_of(folder),
        judge=judge,
        device=place,
        precision=precision,
        warnings=() if chat.warning is None else (chat.warning,),
        origin=card.origin if home == folder else read_card(home).origin,
    )


def load_configured(config: ModelConfig) -> LoadedModel:
    """Load the aligned model that a configuration names, in its ways."""
    return load_model(
        config.place, precision=config.precision, thinking_tokens=config.thinking_tokens
    )


def load_base(loaded: LoadedModel) -> nn.Module | None:
    """Load the model before alignment, None where the card names none.

    Raises
    ------
    ModelError
        It cannot be loaded, or is none that the aligned model can have been made of.
    """
    folder = base_folder(loaded.folder, loaded.card)
    if folder is None:
        return None
    base = load_weights(folder, loaded.device)
    # Its vocabulary may be another: the maps are what is compared.
    if anatomy_of(base).maps != loaded.anatomy.maps:
        raise ModelError(f"{folder} does not fit the aligned model: its layers or maps are others.")
    compute_in(base, loaded.precision, loaded.device)
    return base


def load_tokenizer(folder: Path) -> Any:
    """Load a folder's tokenizer exactly as its ``tokenizer.json`` says.

    ``AutoTokenizer`` would choose a class by model type, and a custom tokenizer beside, for
    instance, a Qwen2 model would then split text differently without a word.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast  # noqa: PLC0415 - 1 s

    kind = PreTrainedTokenizerFast if (folder / "tokenizer.json").is_file() else AutoTokenizer
    try:
        return kind.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as problem:
        # The tokenizers library raises bare exceptions.
        raise ModelError(
            f"{folder} has no tokenizer that can be read: {first_line(problem)}."
        ) from None


def asks_about_thinking(folder: Path) -> bool:
    """Whether the template of a model's folder has a switch for thinking."""
    home = weights_folder(folder, read_card(folder))
    files = (home / name for name in _TEMPLATES)
    return any(SWITCH.encode() in read_bytes(file) for file in files if file.is_file())


def load_weights(folder: Path, device: torch.device) -> nn.Module:
    """Load a folder's causal language model in float32 onto a device; an adapter is merged."""
    home = weights_folder(folder, read_card(folder))
    if home != folder:
        return with_adapter(load_weights(home, device), folder, device)
    weights: nn.Module = load_whole(folder, device)
    return weights


def load_whole(
    folder: Path,
    device: torch.device,
    kind: str | None = None,
    *,
    dtype: torch.dtype = torch.float32,
    called: str = "",
    lacks: str = "lacks",
) -> Any:
    """Load the model whose weights lie in a folder: safetensors, all there, no code of its own.

    Parameters
    ----------
    kind : str, optional
        The class of transformers that makes it, where it need not be a decoder whose layers are
        known here.
    called, lacks : str
        Subject and verb of messages; the subject is the folder without one.

    Raises
    ------
    ModelError
        The folder may not be opened, or its weights do not fit, are broken, not all there or
        compute nothing.
    """
    import transformers  # noqa: PLC0415 - 1 s
    from transformers.utils import logging  # noqa: PLC0415

    called = called or str(folder)
    check_model_folder(folder)
    check_weights_fit(folder, device, kind)
    logging.disable_progress_bar()
    try:
        model, report = getattr(transformers, kind or "AutoModelForCausalLM").from_pretrained(
            str(folder),
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except Exception as problem:
        # What a configuration or damaged weights make the library raise is no fixed list.
        raise ModelError(f"{called} cannot be loaded: {first_line(problem)}.") from None
    # Transformers would fill them with random numbers.
    if missing := sorted(report["missing_keys"]):
        raise ModelError(f"{called} {lacks} {len(missing)} weights, {missing[0]} among them.")
    loaded = model.to(device).eval()
    check_weights(loaded, folder)
    return loaded


def with_adapter(model: nn.Module, folder: Path, device: torch.device) -> nn.Module:
    """Return a model with the peft adapter of a folder merged into its weights.

    Raises
    ------
    ModelError
        The adapter may not be opened (:func:`check_adapter_folder`), is broken, or is for another
        model; or what comes of it computes nothing.
    """
    from peft import PeftModel  # noqa: PLC0415 - 2 s

    stored = check_adapter_folder(folder)
    check_adapter_patterns(folder, (name for name, _ in model.named_modules()))
    try:
        wrapped = PeftModel.from_pretrained(model, str(folder), torch_device=str(device))
        _check_taken_up(wrapped, stored)
        merged: nn.Module = wrapped.merge_and_unload()
    except Exception as problem:
        # What settings or damaged weights make the library raise is no fixed list.
        lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
        # Torch puts a heading before what does not fit.
        reason = next(
            (line for line in lines if "size mismatch" in line), lines[0] if lines else ""
        )
        raise ModelError(
            f"the adapter {folder} cannot be put on the aligned model: {reason.rstrip('.')}."
        ) from None
    check_weights(merged, folder)
    # The library holds what an adapter lies on.
    return merged.requires_grad_().eval()


def _check_taken_up(wrapped: nn.Module, stored: Iterable[str]) -> None:
    # The library passes over factors that it has no place for, and over places without factors.
    places = {name.replace(".default", "") for name, _ in wrapped.named_parameters()}
    ours, theirs = ({n for n in names if _FACTOR.search(n)} for names in (places, stored))
    if differing := sorted(ours ^ theirs):
        reason = "is not stored" if differing[0] in ours else "has no place in it"
        raise ValueError(f"{differing[0]} {reason}")


def compute_in(model: nn.Module, precision: Precision, device: torch.device) -> None:
    """Let every pass of a model run under autocast, whoever asks for it; scores come as float32.

    The weights stay float32: one rounding to bfloat16 would put most of a small update back into
    a protected subspace. With ``float32`` nothing happens.
    """
    if precision == "float32":
        return
    kind: Any = type(model)

    @functools.wraps(kind.forward)
    def forward(self: Any, *arguments: Any, **named: Any) -> Any:
        with torch.autocast(device.type, dtype=TYPES[precision]), whole_attention(device):
            output = kind.forward(self, *arguments, **named)
        if getattr(output, "logits", None) is not None:
            output.logits = output.logits.float()
        return output

    # A class of the same name rather than a wrapped method: copies of the model keep their own
    # weights, and what is saved names the architecture as it is.
    model.__class__ = type(
        kind.__name__, (kind,), {"forward": forward, "__module__": kind.__module__}
    )
