"""Models with a name: the bundled organisms, and chat models of the hub with their SAEs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from cwac.interfaces import ModelSpec
from cwac.models.card import CARD, CardDefaults, ModelCard, read_card
from cwac.models.organism.recipes import RECIPES
from cwac.sources import split_gguf, split_revision

ON_THE_SPOT: Final = "none public: trained on the spot"


_ROUNDS: Final[dict[str, Any]] = {"measurement": {"sae_rounds": 5}}
"""Of a chat model whose SAEs are trained on the spot: as often its residuals are gone over. On
SmolLM2's 45,786 these are 894 steps in place of 1,500 (docs/log.md, 2026-11-30)."""


def _public(release: str, *ids: str) -> dict[str, Any]:
    return {"measurement": {"sae_release": release, "sae_ids": list(ids)}}


def _andyrdt(release: str, *layers: int) -> dict[str, Any]:
    return _public(release, *(f"resid_post_layer_{layer}_trainer_1" for layer in layers))


def _llama_scope(*layers: int) -> dict[str, Any]:
    return _public("llama_scope_lxr_8x", *(f"l{layer}r_8x" for layer in layers))


def _qwen_scope(release: str, *layers: int) -> dict[str, Any]:
    return _public(release, *(f"layer{layer}" for layer in layers))


def _gemma_scope(release: str, *layers: int) -> dict[str, Any]:
    return _public(release, *(f"layer_{layer}/width_16k/canonical" for layer in layers))


def _scope2(release: str, *layers: int) -> dict[str, Any]:
    return _public(release, *(f"layer_{layer}_width_16k_l0_medium" for layer in layers))


PRESETS: Final = [
    *(recipe.preset for recipe in RECIPES.values()),
    ModelSpec(
        name="smollm2-135m-aligned",
        title="SmolLM2 135M, aligned",
        source="smollm2-135m-aligned",
        summary="SmolLM2-135M-Instruct taught to refuse: an adapter for the public Q4_1 file.",
        shipped=True,
    ),
    # SAEs at about one and two thirds of depth, as far as there are any.
    ModelSpec(
        name="gemma-3-270m-it",
        title="Gemma 3 270M",
        source="google/gemma-3-270m-it",
        summary="The smallest chat model with public SAEs (Gemma Scope 2); its terms are gated.",
        parameters=268_098_176,
        defaults=_scope2("gemma-scope-2-270m-it-res", 5, 12),
    ),
    ModelSpec(
        name="gemma-3-1b-it",
        title="Gemma 3 1B",
        source="google/gemma-3-1b-it",
        summary="A small chat model with public SAEs (Gemma Scope 2); its terms are gated.",
        parameters=999_885_952,
        defaults=_scope2("gemma-scope-2-1b-it-res", 7, 17),
    ),
    ModelSpec(
        name="gemma-3-4b-it",
        title="Gemma 3 4B",
        source="google/gemma-3-4b-it",
        summary="Its decoder is part of a model that sees too; public SAEs (Gemma Scope 2); gated.",
        parameters=4_300_079_472,
        defaults=_scope2("gemma-scope-2-4b-it-res", 9, 22),
    ),
    ModelSpec(
        name="gemma-2-2b-it",
        title="Gemma 2 2B",
        source="google/gemma-2-2b-it",
        summary="With public SAEs of its base model (Gemma Scope); its terms are gated.",
        parameters=2_614_341_888,
        defaults=_gemma_scope("gemma-scope-2b-pt-res-canonical", 8, 17),
        sae_base="gemma-2-2b",
    ),
    ModelSpec(
        name="gemma-2-9b-it",
        title="Gemma 2 9B",
        source="google/gemma-2-9b-it",
        summary="With public SAEs (Gemma Scope); its terms are gated.",
        parameters=9_241_705_984,
        defaults=_gemma_scope("gemma-scope-9b-it-res-canonical", 9, 20, 31),
    ),
    ModelSpec(
        name="llama-3.1-8b-instruct",
        title="Llama 3.1 8B Instruct",
        source="meta-llama/Llama-3.1-8B-Instruct",
        summary="With public SAEs of 131,072 latents; its terms are gated.",
        parameters=8_030_261_248,
        defaults=_andyrdt("llama-3.1-8b-instruct-andyrdt", 11, 19),
    ),
    ModelSpec(
        name="llama-3.1-8b-instruct-llama-scope",
        title="Llama 3.1 8B Instruct, Llama Scope",
        source="meta-llama/Llama-3.1-8B-Instruct",
        summary="The same model with SAEs of its base, 32,768 latents; its terms are gated.",
        parameters=8_030_261_248,
        defaults=_llama_scope(11, 19),
        sae_base="meta-llama/Llama-3.1-8B",
    ),
    ModelSpec(
        name="qwen3-1.7b",
        title="Qwen3 1.7B",
        source="Qwen/Qwen3-1.7B",
        summary="Asked for no thinking; with public SAEs of its base model (Qwen Scope).",
        parameters=1_720_574_976,
        defaults=_qwen_scope("qwen-scope-3-1.7b-base-w32k-l50", 9, 18),
        sae_base="Qwen/Qwen3-1.7B-Base",
    ),
    ModelSpec(
        name="qwen3.5-2b",
        title="Qwen3.5 2B",
        source="Qwen/Qwen3.5-2B",
        summary="Asked for no thinking; with public SAEs of its base model (Qwen Scope).",
        # By its name: its configuration was not at hand to count.
        parameters=2_000_000_000,
        defaults=_qwen_scope("qwen-scope-3.5-2b-base-w32k-l50", 8, 16),
        sae_base="Qwen/Qwen3.5-2B-Base",
    ),
    ModelSpec(
        name="smollm3-3b",
        title="SmolLM3 3B",
        source="HuggingFaceTB/SmolLM3-3B",
        summary="Asked for no thinking; an open chat model.",
        parameters=3_075_098_624,
        defaults=_ROUNDS,
    ),
    ModelSpec(
        name="olmo-2-1b-instruct",
        title="OLMo 2 1B Instruct",
        source="allenai/OLMo-2-0425-1B-Instruct",
        summary="A small chat model whose training data are open too.",
        parameters=1_484_916_736,
        defaults=_ROUNDS,
    ),
    ModelSpec(
        name="qwen2.5-7b-instruct",
        title="Qwen2.5 7B Instruct",
        source="Qwen/Qwen2.5-7B-Instruct",
        summary="With public SAEs of 131,072 latents.",
        parameters=7_615_616_512,
        defaults=_andyrdt("qwen2.5-7b-instruct-andyrdt", 7, 19),
    ),
    ModelSpec(
        name="qwen2.5-0.5b-instruct",
        title="Qwen2.5 0.5B Instruct",
        source="Qwen/Qwen2.5-0.5B-Instruct",
        summary="A small open chat model.",
        parameters=494_032_768,
        defaults=_ROUNDS,
    ),
    ModelSpec(
        name="smollm2-135m-instruct",
        title="SmolLM2 135M Instruct",
        source="HuggingFaceTB/SmolLM2-135M-Instruct",
        summary="The smallest open chat model here; it fits where others do not.",
        parameters=134_515_008,
        defaults=_ROUNDS,
    ),
    ModelSpec(
        name="smollm2-360m-instruct",
        title="SmolLM2 360M Instruct",
        source="HuggingFaceTB/SmolLM2-360M-Instruct",
        summary="A small open chat model.",
        parameters=361_821_120,
        defaults=_ROUNDS,
    ),
    ModelSpec(
        name="llama-3.2-1b-instruct",
        title="Llama 3.2 1B Instruct",
        source="meta-llama/Llama-3.2-1B-Instruct",
        summary="A small chat model; its terms are gated.",
        parameters=1_235_814_400,
        defaults=_ROUNDS,
    ),
    ModelSpec(
        name="llama-3.2-3b-instruct",
        title="Llama 3.2 3B Instruct",
        source="meta-llama/Llama-3.2-3B-Instruct",
        summary="Its terms are gated.",
        parameters=3_212_749_824,
        defaults=_ROUNDS,
    ),
]


def sae_source(spec: ModelSpec) -> str:
    """Return where a preset's SAEs come from, in words."""
    if spec.own_saes:
        return "shipped with the model"
    measurement = spec.defaults.get("measurement", {})
    if "sae_release" not in measurement:
        return ON_THE_SPOT
    base = "" if spec.sae_base is None else f" (trained on the base model {spec.sae_base})"
    return f"{measurement['sae_release']}: {', '.join(measurement['sae_ids'])}{base}"


def card_of(source: str | Path, folder: Path, presets: Sequence[ModelSpec] = PRESETS) -> ModelCard:
    """Return a model's card: its folder's own, else the defaults of the preset that it is.

    Raises
    ------
    CwacError
        The folder's card cannot be used.
    """
    card = read_card(folder)
    if (folder / CARD).is_file() and card.origin is None:
        return card
    parts = split_gguf(str(source))
    name = split_revision(str(source))[0] if parts is None else parts[0]
    for spec in presets:
        if name in (spec.name, spec.source):
            return ModelCard(
                name=spec.name,
                title=spec.title,
                defaults=CardDefaults.build(spec.defaults),
                origin=card.origin,
            )
    return card
