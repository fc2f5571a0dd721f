"""A tiny configuration of every architecture that the lab knows, and folders made of them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from builders import make_tokenizer
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3Config,
    Gemma3TextConfig,
    Gemma4Config,
    Gemma4TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    Olmo2Config,
    OPTConfig,
    Phi3Config,
    PretrainedConfig,
    Qwen2Config,
    Qwen3_5TextConfig,
    Qwen3Config,
    SmolLM3Config,
)

D_MODEL, D_FF = 16, 40
_GATED = ("gate_proj", "up_proj", "down_proj")
_SPLIT_QKV = ("q_proj", "k_proj", "v_proj")


@dataclass(frozen=True)
class Family:
    """One architecture.

    Attributes
    ----------
    maps : tuple of str
        Its linear maps in a layer, in order of their names.
    others : tuple of str
        Those of the first layer and every second one after it, where layers are of two kinds.
    final_norm : str
        What the last layer's output goes through before the vocabulary.
    tied : bool
        Whether it shares its embedding with the output layer.
    whole : callable or None
        Makes the configuration of a model that reads images too of the text model's.
    """

    kind: type[PretrainedConfig]
    layers: str
    ffn: str
    maps: tuple[str, ...]
    final_norm: str
    extra: dict[str, Any]
    tied: bool = False
    others: tuple[str, ...] = ()
    whole: Callable[..., PretrainedConfig] | None = None

    def maps_of(self, layer: int) -> tuple[str, ...]:
        """The linear maps of a layer."""
        return self.others if self.others and layer % 2 == 0 else self.maps

    def config(self, layers: int = 3, vocabulary: int = 60, **changes: Any) -> PretrainedConfig:
        """A configuration of d_model 16 and FFN width 40."""
        names = {
            GPT2Config: {"n_embd": D_MODEL, "n_inner": D_FF, "n_layer": layers, "n_head": 4},
            OPTConfig: _sizes(layers) | {"ffn_dim": D_FF, "word_embed_proj_dim": D_MODEL},
        }.get(self.kind, _sizes(layers) | {"intermediate_size": D_FF})
        room = "n_positions" if self.kind is GPT2Config else "max_position_embeddings"
        usual = {
            "vocab_size": vocabulary,
            room: 128,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "tie_word_embeddings": self.tied,
        }
        config = self.kind(**(usual | names | self.extra | changes))
        if self.whole is None:
            return config
        tokens = {name: usual[name] for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
        return self.whole(text_config=config, tie_word_embeddings=self.tied, **_SEES, **tokens)


_SEES: dict[str, Any] = {
    "vision_config": {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "image_size": 28,
        "patch_size": 14,
        "position_embedding_size": 16,
    },
    "mm_tokens_per_image": 4,
}


def _sizes(layers: int) -> dict[str, int]:
    return {"hidden_size": D_MODEL, "num_hidden_layers": layers, "num_attention_heads": 4}


def _attention(prefix: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{prefix}.{name}" for name in names)


LLAMA_MAPS = (
    *_attention("self_attn", *_SPLIT_QKV, "o_proj"),
    *(f"mlp.{name}" for name in _GATED),
)
_GROUPED = {"num_key_value_heads": 2}
_HEADS = _GROUPED | {"head_dim": 4}
_LLAMA = ("model.layers", "mlp.down_proj", LLAMA_MAPS, "model.norm")

FAMILIES = {
    "llama": Family(LlamaConfig, *_LLAMA, _GROUPED),
    "qwen2": Family(Qwen2Config, *_LLAMA, _GROUPED, tied=True),
    "qwen3": Family(Qwen3Config, *_LLAMA, _HEADS, tied=True),
    # A window shorter than a request, so that old keys really leave it.
    "mistral": Family(MistralConfig, *_LLAMA, _GROUPED | {"sliding_window": 8}),
    "phi3": Family(
        Phi3Config,
        "model.layers",
        "mlp.down_proj",
        ("self_attn.o_proj", "self_attn.qkv_proj", "mlp.gate_up_proj", "mlp.down_proj"),
        "model.norm",
        _GROUPED | {"sliding_window": 8},
    ),
    "olmo2": Family(Olmo2Config, *_LLAMA, _GROUPED),
    "gemma2": Family(Gemma2Config, *_LLAMA, _HEADS | {"sliding_window": 8}, tied=True),
    "gemma3": Family(Gemma3TextConfig, *_LLAMA, _HEADS | {"sliding_window": 8}, tied=True),
    # As the hub has Gemma 3 from 4B on, and Gemma 4: the decoder is one part of several.
    "gemma3_seeing": Family(
        Gemma3TextConfig,
        "model.language_model.layers",
        "mlp.down_proj",
        LLAMA_MAPS,
        "model.language_model.norm",
        _HEADS | {"sliding_window": 8},
        tied=True,
        whole=Gemma3Config,
    ),
    "gemma4_seeing": Family(
        Gemma4TextConfig,
        "model.language_model.layers",
        "mlp.down_proj",
        (*LLAMA_MAPS, "per_layer_input_gate", "per_layer_projection"),
        "model.language_model.norm",
        _HEADS
        | {
            "sliding_window": 8,
            "hidden_size_per_layer_input": 8,
            # Left out, it has the 262,144 rows of the published model.
            "vocab_size_per_layer_input": 512,
        },
        tied=True,
        whole=Gemma4Config,
    ),
    "smollm3": Family(SmolLM3Config, *_LLAMA, _GROUPED | {"no_rope_layer_interval": 2}, tied=True),
    # Every second layer keeps a state instead of keys and values.
    "qwen3_5": Family(
        Qwen3_5TextConfig,
        *_LLAMA,
        _HEADS
        | {
            "full_attention_interval": 2,
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 4,
            "linear_key_head_dim": 4,
            "linear_value_head_dim": 4,
        },
        tied=True,
        others=(
            *_attention("linear_attn", "in_proj_a", "in_proj_b", "in_proj_qkv", "in_proj_z"),
            "linear_attn.out_proj",
            *(f"mlp.{name}" for name in _GATED),
        ),
    ),
    "gpt_neox": Family(
        GPTNeoXConfig,
        "gpt_neox.layers",
        "mlp.dense_4h_to_h",
        (
            "attention.query_key_value",
            "attention.dense",
            "mlp.dense_h_to_4h",
            "mlp.dense_4h_to_h",
        ),
        "gpt_neox.final_layer_norm",
        {},
    ),
    "opt": Family(
        OPTConfig,
        "model.decoder.layers",
        "fc2",
        (*_attention("self_attn", *_SPLIT_QKV, "out_proj"), "fc1", "fc2"),
        "model.decoder.final_layer_norm",
        {},
        tied=True,
    ),
    "gpt2": Family(
        GPT2Config,
        "transformer.h",
        "mlp.c_proj",
        ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"),
        "transformer.ln_f",
        {},
        tied=True,
    ),
}


def make_family(name: str, **changes: Any) -> torch.nn.Module:
    """A model with random weights."""
    torch.manual_seed(0)
    config = FAMILIES[name].config(**changes)
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


def write_family(folder: Path, name: str) -> Path:
    """A two-layer model of the family with the builders' tokenizer, as a folder."""
    tokenizer = make_tokenizer()
    # Large weights give answers that differ from each other.
    model = make_family(
        name,
        layers=2,
        vocabulary=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        **{"init_std" if name == "opt" else "initializer_range": 0.4},
    )
    if FAMILIES[name].tied:
        # Else the last token's own embedding would decide every answer.
        with torch.no_grad():
            model.get_input_embeddings().weight.mul_(0.25)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
