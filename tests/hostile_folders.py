"""Folders of models, adapters, judges and SAEs that somebody spoiled, one way each.

Sound ones are tiny and made once; a copy of one is spoiled under a seed.
"""

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from builders import make_chat
from damages import damage
from safetensors.numpy import load_file, save_file
from transformers import BertConfig, BertForSequenceClassification

from cwac.features import Sae

KINDS = ("model", "adapter", "classifier", "generator", "sae")
LABELS = {0: "NORMAL", 1: "REJECTION"}
PLACE = "base_model.model.model.layers.{}.self_attn.q_proj.lora_{}.weight"
LEAVES: tuple[Any, ...] = (
    10**7, -1, 0, 2**70, "x", "", None, [], {}, [3], True, 1e300, [[]], "a/b", "../x", ["a"] * 3,
)  # fmt: skip
# What a library would do much, or something else, for.
CONFIG: dict[str, tuple[Any, ...]] = {
    "attn_implementation": ("a/b", "flash_attention_2", {"": "a/b"}, 3, ["a"]),
    "_attn_implementation": ("a/b",), "num_hidden_layers": (10**7, 0), "num_labels": (10**9, 0),
    "decoder_layers": (10**9,), "max_position_embeddings": (4, -1, "x"), "vocab_size": (3,),
    "auto_map": ({"AutoConfig": "m.M", "AutoModelForCausalLM": "m.M"},),
    "model_type": ("x", "bart", "bert"), "id2label": ([], {"0": None}, {"a": "b"}),
    "transformers_weights": ("x.bin", "../model.safetensors"),
    "quantization_config": ({"quant_method": "bitsandbytes", "load_in_4bit": True}, {}),
}  # fmt: skip
ADAPTER: dict[str, tuple[Any, ...]] = {
    "peft_type": ("XLORA", "PROMPT_TUNING", "PREFIX_TUNING", "IA3", "LOHA", "VBLORA", None, 3),
    "adapters": ({"a": "../elsewhere", "b": "owner/name"},), "r": (10**9, 0, "2", None, 3),
    "rank_pattern": ({"q_proj": 10**9}, {"(a+)+(b|a)*!": 2}, [3], {"[": 2}),
    "alpha_pattern": ({"(.*)*!": 2},), "layer_replication": ([[0, 10**7]], [[0, 2], [0, 2]]),
    "megatron_config": ({"a": 1},), "megatron_core": ("os.path",), "arrow_config": ({"top_k": 1},),
    "target_modules": (r"(.*)*!", "(a|a)*" * 9, "[", [], "all-linear", ["nowhere"], 3),
    "exclude_modules": ("(.*.*)*!", ["q_proj"]), "lora_alpha": (1e308, "x", None),
    "init_lora_weights": ("loftq", "pissa", "eva", 3), "modules_to_save": (["lm_head"], ["x"], 3),
    "monteclora_config": ({"num_samples": 10**9},), "auto_mapping": ({"parent_library": "os"},),
    "trainable_token_indices": ([0], [10**9], {"x": [1]}), "use_dora": (True, "x"),
    "target_parameters": (["x"], "x"), "lora_bias": (True,), "use_qalora": (True,),
}  # fmt: skip
TOKENIZER: dict[str, tuple[Any, ...]] = {
    "model_max_length": (-3, 0, "x", 10**30, 4), "auto_map": ({"AutoTokenizer": ["m.M", None]},),
    "tokenizer_class": ("x", "BertTokenizer", 3), "chat_template": ("{% if %}", 3, "", ["x"]),
    "pad_token": (None, "nowhere", 3), "eos_token": (None,), "extra_special_tokens": ([], {"a": 3}),
}  # fmt: skip
SAE: dict[str, tuple[Any, ...]] = {
    "architecture": ("x", "jumprelu", "standard", 3, None), "k": (0, 10**9, "x", None, 2.5),
    "normalize_activations": ("layer_norm", 3), "metadata": ({}, None, {"hook_name": 3}, [3]),
    "rescale_acts_by_decoder_norm": ("x",), "apply_b_dec_to_input": ("x", None),
}  # fmt: skip
KEYS = {"config.json": CONFIG, "adapter_config.json": ADAPTER, "tokenizer_config.json": TOKENIZER,
        "cfg.json": SAE}  # fmt: skip


def sound_folders(root: Path, model: Path) -> dict[str, Path]:
    """Write one folder of each kind; all are for the tiny model of a folder."""
    chat = make_chat()
    adapter, classifier, sae = (root / name for name in ("adapter", "classifier", "sae"))
    adapter.mkdir(parents=True)
    settings = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"],
                "task_type": "CAUSAL_LM", "base_model_name_or_path": model.name}  # fmt: skip
    (adapter / "adapter_config.json").write_text(json.dumps(settings))
    stream = np.random.default_rng(0)
    factors = {
        PLACE.format(layer, side): stream.normal(size=shape).astype(np.float32)
        for layer in range(2)
        for side, shape in (("A", (2, 32)), ("B", (32, 2)))
    }
    save_file(factors, adapter / "adapter_model.safetensors", {"format": "pt"})
    # An encoder, as most classifiers are: positions are learned, and there are 64 of them.
    config = BertConfig(
        vocab_size=len(chat.tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=64, id2label=LABELS,
        label2id={name: number for number, name in LABELS.items()},
        pad_token_id=chat.tokenizer.pad_token_id,
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(classifier)
    chat.tokenizer.save_pretrained(classifier)
    parts = [torch.randn(*size) for size in ((32, 64), (64,), (64, 32), (32,))]
    about = {"architecture": "topk", "k": 4, "d_in": 32, "d_sae": 64,
             "metadata": {"hook_name": "model.layers.0"}}  # fmt: skip
    Sae(*parts, about).save(sae / "layer_0")
    return {"model": model, "adapter": adapter, "classifier": classifier, "generator": model,
            "sae": sae}  # fmt: skip


def spoiled(sound: Path, target: Path, draw: random.Random) -> str:
    """Write a copy of a folder that is spoiled in one way; return which."""
    shutil.copytree(sound, target)
    files = [path for path in sorted(target.rglob("*")) if path.is_file()]
    way = draw.choice((_key, _key, _leaf, _weights, _weights, _special, _beside, None))
    if way is None:
        return damage(target, draw)
    return way(target, files, draw)


def _key(target: Path, files: list[Path], draw: random.Random) -> str:
    path = draw.choice([path for path in files if path.name in KEYS])
    key = draw.choice(sorted(KEYS[path.name]))
    values = json.loads(path.read_text()) | {key: draw.choice(KEYS[path.name][key])}
    if path.name == "tokenizer_config.json" and key == "chat_template":
        (path.parent / "chat_template.jinja").unlink(missing_ok=True)
    path.write_text(json.dumps(values))
    return f"{path.relative_to(target)}: {key} = {str(values[key])[:80]}"


def _leaf(target: Path, files: list[Path], draw: random.Random) -> str:
    path = draw.choice([path for path in files if path.suffix == ".json"])
    whole = json.loads(path.read_text())
    place = whole
    while isinstance(place, dict | list) and place:
        key = draw.choice(sorted(place)) if isinstance(place, dict) else draw.randrange(len(place))
        if not isinstance(place[key], dict | list) or not place[key] or draw.random() < 0.3:
            place[key] = draw.choice(LEAVES)
            break
        place = place[key]
    path.write_text(json.dumps(whole))
    return f"a leaf of {path.relative_to(target)}"


def _weights(target: Path, files: list[Path], draw: random.Random) -> str:
    path = draw.choice([path for path in files if path.suffix == ".safetensors"])
    tensors = load_file(path)
    name = draw.choice(sorted(tensors))
    changes: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "no number": lambda a: np.full_like(a, np.nan), "zero": np.zeros_like,
        "infinite": lambda a: np.full_like(a, np.inf), "vast": lambda a: np.full_like(a, 3e38),
        "turned": lambda a: a.T.copy(), "short": lambda a: a[:-1], "empty": lambda a: a[:0],
        "flat": np.ravel,
        "whole": lambda a: a.astype(np.int64), "double": lambda a: a.astype(np.float64),
    }  # fmt: skip
    way = draw.choice(sorted([*changes, "gone", "renamed"]))
    for each in sorted(tensors) if draw.random() < 0.3 else [name]:
        value = tensors.pop(each)
        if way in changes:
            tensors[each] = changes[way](value)
        elif way == "renamed":
            tensors[f"{each}x"] = value
    path.unlink()
    save_file(tensors, path, {"format": "pt"})
    return f"{path.relative_to(target)}: {name} {way}"


def _special(target: Path, files: list[Path], draw: random.Random) -> str:
    path = draw.choice(files)
    path.unlink()
    way = draw.choice(("pipe", "zero", "nothing", "folder"))
    if way == "pipe":
        os.mkfifo(path)
    elif way == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero" if way == "zero" else "nowhere")
    return f"{path.relative_to(target)} is {way}"


def _beside(target: Path, files: list[Path], draw: random.Random) -> str:
    name = draw.choice((
        "adapter_config.json", "model.safetensors.index.json", "more.safetensors", "pipe.jinja",
        "additional_chat_templates/x.jinja", "generation_config.json", "vocab.txt", "modeling.py",
        "tokenizer.model", "added_tokens.json", "cwac.json", "judge.json", "x.tiktoken",
    ))  # fmt: skip
    path = draw.choice(files).parent / name
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    text = draw.choice((
        "", "{}", "[]", "x", '{"weight_map": {"w": "more.safetensors"}}', '{"num_beams": 100000}',
        '{"weight_map": {"w": "../x.bin"}}', '{"peft_type": "LORA"}', '{"refusal": ["(a+)+b"]}',
    ))  # fmt: skip
    if draw.random() < 0.4:
        os.mkfifo(path)
        return f"{path.relative_to(target)} is a pipe more"
    path.write_text(text)
    return f"{path.relative_to(target)} more: {text}"
