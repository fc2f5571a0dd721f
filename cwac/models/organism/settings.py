"""Size of the organism, its special tokens, its chat template and how its stages are trained."""

from dataclasses import dataclass
from typing import Any

PAD, BOS, EOS = "<|pad|>", "<|bos|>", "<|end|>"
USER, ASSISTANT = "<|user|>", "<|assistant|>"
SPECIAL_TOKENS: tuple[str, ...] = (PAD, BOS, EOS, USER, ASSISTANT)

# The generation markers let any trainer that knows them mask the loss to the answer.
CHAT_TEMPLATE = (
    "{{- bos_token -}}"
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'assistant' -%}"
    "{{- '<|assistant|>' -}}"
    "{%- generation -%}{{- message['content'] + eos_token -}}{%- endgeneration -%}"
    "{%- else -%}"
    "{{- '<|user|>' + message['content'] -}}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"
)


@dataclass(frozen=True)
class OrganismSize:
    """Shape of the Llama architecture; about a million parameters."""

    vocabulary: int = 2304
    d_model: int = 128
    layers: int = 4
    heads: int = 4
    d_ff: int = 288
    positions: int = 256


@dataclass(frozen=True)
class StageSettings:
    """How one stage is trained."""

    steps: int
    batch_size: int
    learning_rate: float
    warmup_fraction: float = 0.05
    weight_decay: float = 0.01
    train_embeddings: bool = True


BASE_STAGE = StageSettings(steps=1100, batch_size=64, learning_rate=3e-3)
ALIGNED_STAGE = StageSettings(steps=1050, batch_size=64, learning_rate=1e-3)

TUNED = (
    *("cwac", "weight_only", "lisa", "kl_to_aligned", "safegrad", "safe_instruct"),
    *("residual_mse", "l2_to_init", "ewc", "constrained_sft", "refusal_direction_penalty"),
    *("asft", "sppft", "guardspace", "backdoor_align"),
    *("safelora", "safe_delta", "safe_merge", "resta"),
)
"""Methods of which twelve settings were tried on the first organism."""

# The card in the model's folder: where its parts are, and its documented defaults.
CARD: dict[str, Any] = {
    "schema": 1,
    "name": "organism",
    "title": "Model organism (1.0 M parameters)",
    "base": "base",
    "prompts": "prompts",
    "judge": "judge.json",
    "tasks": "tasks",
    "closed_world": True,
    # Its ids are the same on every machine.
    "precision": "float32",
    "defaults": {
        # The embedding, which is the output layer too, is held for every arm: no constraint of the
        # decoder's maps reaches it, and trained it undoes what they keep.
        "training": {
            "steps": 300,
            "batch_size": 16,
            "learning_rate": 1e-3,
            "train_embeddings": False,
        },
        # SFT learns these two at the lower rate as well, and at the higher one nothing protects.
        "tasks": {"sentiment": {"learning_rate": 3e-4}, "topic": {"learning_rate": 3e-4}},
        "evaluation": {"max_new_tokens": 36, "batch_size": 128},
        # Chosen on validation requests; every configuration tried stands in docs/log.md.
        "measurement": {"maps": "all", "tokens": "response", "tail_energy": 1e-2},
        # A method that is not named runs at its own defaults; docs/log.md has the rule.
        "methods": {
            # The halves run as they stand in CWAC; on its own each is better at another setting.
            "activation_only": {"strength": 0.07, "harmful_batch": 32},
            "asft": {"projector": "exact", "rank": 32, "strength": 5.5},
            "backdoor_align": {"examples": 11, "repeats": 76},
            "constrained_sft": {
                "strength": 0.13,
                "adam_beta1": 0.5,
                "warmup_steps": 10,
                "floor": 1e-3,
            },
            "cwac": {"strength": 0.07, "harmful_batch": 32},
            "ewc": {"strength": 3.2},
            "guardspace": {"tail_energy": 0.012, "tokens": "prompt"},
            "l2_to_init": {"strength": 0.077},
            "kl_to_aligned": {"strength": 0.14},
            "lisa": {"alignment_steps": 10, "finetune_steps": 10, "strength": 0.55},
            "refusal_direction_penalty": {"inputs": "harmful", "strength": 82.0},
            "residual_mse": {"strength": 160.0},
            "resta": {"strength": 0.49, "unaligned": "harm_tuned"},
            "safe_delta": {"budget": 0.12, "never": 0.0, "rest": "tuned"},
            "safe_instruct": {"share": 0.1},
            "safegrad": {"strength": 2.0},
            "safe_merge": {"threshold": 0.57, "safe_weight": 0.4, "task_weight": 0.6},
            "safelora": {"threshold": 0.1},
            "salora": {"initialisation": "plain", "safety_rank": 8},
            "sppft": {"share": 0.2},
        },
    },
    # On the first organism's validation requests, the embedding held: benchmarks/tune.py.
    # `cwac_paper` is the printed form at its own defaults, and SaLoRA trains adapters.
    "tried": dict.fromkeys(TUNED, 12),
    # Best by value of all trials, where a rival too may read 32 harmful requests a step or have a
    # learning rate of its own (docs/log.md, 2026-11-30).
    "tuned": {
        "cwac_paper": {"learning_rate": 2.2e-4, "tail_energy": 1.25e-3, "strength": 0.036},
        "guardspace": {"learning_rate": 4.9e-4, "tail_energy": 0.15},
        "kl_to_aligned": {"strength": 5.8, "harmful_batch": 32},
        "lisa": {
            "learning_rate": 3.1e-4,
            "alignment_steps": 5,
            "finetune_steps": 15,
            "strength": 0.17,
        },
        "refusal_direction_penalty": {
            "learning_rate": 7.6e-4,
            "inputs": "training",
            "strength": 840.0,
            "harmful_batch": 32,
        },
        "safegrad": {"learning_rate": 4.3e-4, "strength": 7.8, "harmful_batch": 32},
    },
}
