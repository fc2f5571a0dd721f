"""Where a model lies: presets, folders, hub ids and GGUF files as folders on this machine."""

from pathlib import Path
from typing import Final

from cwac.artifacts import shipped_folder, sweep
from cwac.errors import ModelError
from cwac.models.card import BaseSource, ModelCard, contents_of, read_card
from cwac.models.gguf import cached_gguf, gguf_folder
from cwac.models.hub import hub_folder
from cwac.models.size import size_of
from cwac.sources import split_gguf, split_revision

ARTIFACTS: Final = "cached_artifacts"
ADAPTER: Final = "adapter_config.json"
ADAPTER_WEIGHTS: Final = "adapter_model.safetensors"


def artifacts_folder() -> Path:
    """Return the folder of shipped artifacts.

    Raises
    ------
    ModelError
        It is missing.
    """
    folder = shipped_folder() / ARTIFACTS
    if not folder.is_dir():
        raise ModelError(f"the shipped artifacts are not at {folder}; install the lab again.")
    return folder


def resolve_folder(source: str | Path) -> Path:
    """Return the local folder of a preset, a local folder, a hub id or a GGUF file.

    A hub id is downloaded (text and safetensors files only) unless ``HF_HUB_OFFLINE`` is set;
    ``@REVISION`` behind it is a branch, tag or commit.
    ``FILE.gguf`` is dequantised into a cache; ``MODEL:FILE.gguf`` is a preset whose weights the
    file holds, or a model whose adapter is for them.

    Raises
    ------
    ModelError
        There is no such folder, file, preset or hub model, it cannot be reached, or the file
        holds another model.
    """
    # The registry reads this module's package, so it cannot be imported at the top.
    from cwac.models import MODELS  # noqa: PLC0415

    if (parts := split_gguf(str(source))) is not None:
        model, file = parts
        return _of_preset(model, file) if model else gguf_folder(file)
    name, revision = split_revision(str(source))
    if name in MODELS:
        spec = MODELS[name]
        if not spec.shipped:
            return hub_folder(spec.source, revision)
        _refuse_revision(name, revision)
        folder = artifacts_folder() / spec.source
        if not folder.is_dir():
            raise ModelError(
                f"the model {name!r} is not at {folder}; cached_artifacts/README.md says what "
                "makes it."
            )
        return folder
    path = Path(name).expanduser()
    if path.is_dir():
        _refuse_revision(name, revision)
        folder = path.resolve()
        # What a killed `align` left beside the models that it was to make.
        sweep(folder.parent)
        return folder
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") != 1:
        known = ", ".join(MODELS)
        raise ModelError(
            f"no model {name!r}: it is not a folder, not a preset ({known}), "
            "not a hub id (owner/name) and not a GGUF file."
        )
    return hub_folder(name, revision)


def _refuse_revision(name: str, revision: str | None) -> None:
    if revision is not None:
        raise ModelError(
            f"the model {name!r} has no revision {revision!r}: only hub models have revisions."
        )


def _of_preset(name: str, file: Path) -> Path:
    """Return the folder of a model whose weights, or whose base's weights, a GGUF file holds."""
    from cwac.models import MODELS  # noqa: PLC0415 - as above

    spec = MODELS.get(name)
    if spec is None or spec.shipped:
        folder = resolve_folder(name)
        base = read_card(folder).base
        made = gguf_folder(file)
        if not isinstance(base, BaseSource) or base.contents != contents_of(made):
            raise ModelError(f"{file.name} does not hold the weights that {name!r} was made of.")
        return folder
    made = gguf_folder(file)
    count = size_of(made).parameters
    if count != spec.parameters:
        raise ModelError(
            f"{file.name} holds another model than {name!r}: {count:,} parameters, not "
            f"{spec.parameters:,}."
        )
    return made


def base_folder(folder: Path, card: ModelCard) -> Path | None:
    """Return where the model before alignment lies, None where the card names none.

    Raises
    ------
    ModelError
        It lies elsewhere and is not there, or another model lies there.
    """
    base = card.base
    if not isinstance(base, BaseSource):
        return None if base is None else folder / base
    made = cached_gguf(base.contents)
    if made is not None:
        return made
    if base.origin is not None and not Path(base.source).is_file():
        raise ModelError(
            f"{folder.name} is made of {base.origin.file} (SHA-256 {base.origin.sha256}), which "
            f"has not been read here yet; name it once, --model {folder.name}:FILE.gguf."
        )
    try:
        place = resolve_folder(base.source)
    except ModelError as problem:
        raise ModelError(f"{folder.name} needs the model it is made of: {problem}") from None
    if contents_of(place) != base.contents:
        raise ModelError(
            f"{folder.name} is made of {base.source} as it was (hash {base.contents}); its files "
            f"are others now (hash {contents_of(place)})."
        )
    return place


def weights_folder(folder: Path, card: ModelCard) -> Path:
    """Return the folder of the full weights: of an adapter's model the base's, else its own."""
    is_ours = (folder / ADAPTER).is_file() and isinstance(card.base, BaseSource)
    base = base_folder(folder, card) if is_ours else None
    return folder if base is None else base
