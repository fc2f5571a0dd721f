"""Loading an aligned model from its folder: float32, never remote code."""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import torch
from safetensors import SafetensorError
from torch import nn

from cwac.anatomy import Anatomy, anatomy_of
from cwac.artifacts import open_weights
from cwac.chat import Chat
from cwac.config import ModelConfig, Precision, read_config_file
from cwac.errors import ModelError, first_line
from cwac.generation import AlignedAnswers
from cwac.intake import read_bytes, shown
from cwac.judges import Judge, load_judge
from cwac.models.card import WEIGHT_SUFFIXES, ModelCard, contents_of, read_card
from cwac.models.folders import ADAPTER, base_folder, resolve_folder, weights_folder
from cwac.models.presets import card_of
from cwac.models.size import check_weights_fit
from cwac.precision import TYPES
from cwac.records import WeightsOrigin
from cwac.thoughts import SWITCH

ADAPTER_WEIGHTS: Final = "adapter_model.safetensors"
_TEMPLATES: Final = ("chat_template.jinja", "chat_template.json", "tokenizer_config.json")
_WEIGHT_NAMES: Final = (".safetensors", ".safetensors.index.json")


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
    chat, judge = Chat(tokenizer, thinking_tokens), load_judge(folder)
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
    """Load the model before alignment, None where the card names none."""
    folder = base_folder(loaded.folder, loaded.card)
    if folder is None:
        return None
    base = load_weights(folder, loaded.device)
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
    from transformers import AutoModelForCausalLM  # noqa: PLC0415 - 1 s
    from transformers.utils import logging  # noqa: PLC0415

    home = weights_folder(folder, read_card(folder))
    if home != folder:
        return with_adapter(load_weights(home, device), folder, device)
    check_model_folder(folder)
    check_weights_fit(folder, device)
    logging.disable_progress_bar()
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            str(folder),
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except Exception as problem:
        # What a configuration or damaged weights make the library raise is no fixed list.
        raise ModelError(f"{folder} cannot be loaded: {first_line(problem)}.") from None
    # Transformers would fill them with random numbers.
    if missing := sorted(report["missing_keys"]):
        raise ModelError(f"{folder} lacks {len(missing)} weights, {missing[0]} among them.")
    loaded: nn.Module = model.to(device).eval()
    check_weights(loaded, folder)
    return loaded


def with_adapter(model: nn.Module, folder: Path, device: torch.device) -> nn.Module:
    """Return a model with the peft adapter of a folder merged into its weights.

    Raises
    ------
    ModelError
        The adapter has no safetensors weights, is broken, or is for another model.
    """
    from peft import PeftModel  # noqa: PLC0415 - 2 s

    if not (folder / ADAPTER_WEIGHTS).is_file():
        raise ModelError(f"the adapter {folder} has no {ADAPTER_WEIGHTS}.")
    try:
        wrapped = PeftModel.from_pretrained(model, str(folder), torch_device=str(device))
        merged: nn.Module = wrapped.merge_and_unload()
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, SafetensorError) as problem:
        lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
        # Torch puts a heading before what does not fit.
        reason = next(
            (line for line in lines if "size mismatch" in line), lines[0] if lines else ""
        )
        raise ModelError(
            f"the adapter {folder} cannot be put on the aligned model: {reason.rstrip('.')}."
        ) from None
    # The library holds what an adapter lies on.
    return merged.requires_grad_().eval()


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
    rows = int(cast(Any, model).get_input_embeddings().weight.shape[0])
    last = max(tokenizer.get_vocab().values(), default=-1)
    if last >= rows:
        raise ModelError(
            f"{folder}: its tokenizer numbers tokens up to {last:,}, and the model has {rows:,}."
        )


def check_model_folder(folder: Path) -> None:
    """Refuse a folder that holds no model which may be loaded, before anything is.

    Raises
    ------
    ModelError
        The configuration or the safetensors weights are missing, it needs code of its own, or
        its weights would come from other files than its own ``.safetensors``.
    """
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
        with torch.autocast(device.type, dtype=TYPES[precision]):
            output = kind.forward(self, *arguments, **named)
        if getattr(output, "logits", None) is not None:
            output.logits = output.logits.float()
        return output

    # A class of the same name rather than a wrapped method: copies of the model keep their own
    # weights, and what is saved names the architecture as it is.
    model.__class__ = type(
        kind.__name__, (kind,), {"forward": forward, "__module__": kind.__module__}
    )
