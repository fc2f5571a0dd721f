"""Tiny models, prompts and yardsticks that are built in milliseconds, without any file."""

import copy
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from tokenizers import decoders as token_decoders
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    PreTrainedTokenizerFast,
)

from cwac.anatomy import Anatomy, anatomy_of
from cwac.chat import Chat, collate
from cwac.config import Directions, ExperimentConfig, MeasurementConfig, TrainingConfig
from cwac.features import Sae, SafetyFeatures
from cwac.interfaces import MethodContext, Yardstick
from cwac.prompts import KINDS, Example, Kind, Prompt, PromptSets, Split
from cwac.seeding import generator
from cwac.subspace import SafetySubspace, collect_second_moments

SPECIAL = ["<pad>", "<bos>", "<end>", "<user>", "<assistant>"]
CHAT_TEMPLATE = (
    "{{- bos_token -}}{%- for m in messages -%}"
    "{%- if m['role'] == 'assistant' -%}<assistant>{{ m['content'] + eos_token }}"
    "{%- else -%}<user>{{ m['content'] }}{%- endif -%}{%- endfor -%}"
    "{%- if add_generation_prompt -%}<assistant>{%- endif -%}"
)
SWITCHED_TEMPLATE = CHAT_TEMPLATE.removesuffix("{%- endif -%}") + (
    "{%- if enable_thinking is defined and not enable_thinking -%}<think></think>{%- endif -%}"
    "{%- endif -%}"
)
OPENED_TEMPLATE = CHAT_TEMPLATE.removesuffix("{%- endif -%}") + "<think>{%- endif -%}"
VERBS = ["make", "hide", "steal", "break", "sell", "move"]
HARMFUL = ["bomb", "gun", "virus", "poison", "drug", "lock"]
HARMLESS = ["cake", "kite", "song", "chair", "garden", "letter"]


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE of about 350 tokens with a chat template."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = token_decoders.ByteLevel()
    words = VERBS + HARMFUL + HARMLESS + ["how", "do", "I", "a", "sorry", "sure", "cannot", "help"]
    text = [f"{a} {b}" for a in words for b in words]
    trainer = trainers.BpeTrainer(
        vocab_size=360,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(text, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<end>",
        model_max_length=128,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def make_chat() -> Chat:
    """A chat of its own around that tokenizer; its template is rendered once for all of them."""
    return copy.deepcopy(_first_chat())


@cache
def _first_chat() -> Chat:
    chat = Chat(make_tokenizer())
    assert chat.eos_ids
    return chat


def make_model(chat: Chat | None = None, *, seed: int = 0, **changes: Any) -> torch.nn.Module:
    """A Llama of 2 layers, d_model 32, FFN width 48, float32, in evaluation mode."""
    torch.manual_seed(seed)
    tokenizer = (chat or make_chat()).tokenizer
    config = LlamaConfig(
        **{
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "max_position_embeddings": 128,
            "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
        }
        | changes
    )
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


def make_transposed(chat: Chat) -> torch.nn.Module:
    """Build a tiny GPT-2, whose maps store their weights the other way round."""
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(chat.tokenizer), n_embd=32, n_layer=2, n_head=2, n_inner=48,
        n_positions=128, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    return GPT2LMHeadModel(config).eval()


def make_base(model: torch.nn.Module) -> torch.nn.Module:
    """The model before alignment: `model` with another small change of rank 4 in every matrix."""
    base = copy.deepcopy(model)
    stream = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for parameter in base.parameters():
            if parameter.ndim == 2:
                rows, columns = parameter.shape
                left = torch.randn(rows, 4, generator=stream)
                parameter.sub_(0.02 * left @ torch.randn(4, columns, generator=stream))
    return base


def make_prompts(count: int = 12) -> PromptSets:
    """`count` requests of each kind in each split; harmful ones refused, complied in `attack`."""
    parts: dict[tuple[Split, Kind], list[Prompt]] = {}
    splits: tuple[Split, ...] = ("alignment", "safety", "attack", "validation", "test")
    for shift, split in enumerate(splits):
        for kind in KINDS:
            nouns = HARMFUL if kind == "harmful" else HARMLESS
            parts[split, kind] = [
                _make_prompt(split, kind, place, VERBS, nouns, shift) for place in range(count)
            ]
    return PromptSets(parts)


def _make_prompt(
    split: Split, kind: Kind, place: int, verbs: Sequence[str], nouns: Sequence[str], shift: int
) -> Prompt:
    verb = verbs[(place // len(nouns) + shift) % len(verbs)]
    noun = nouns[place % len(nouns)]
    refused = kind == "harmful" and split != "attack"
    return Prompt(
        id=f"{kind}-{split}-{place:04d}",
        text=f"how do I {verb} a {noun}",
        kind=kind,
        category=noun,
        template="how",
        answer=f"sorry I cannot help {place % 3}" if refused else f"sure {verb} a {noun}",
    )


def make_examples(count: int = 24) -> list[Example]:
    """Task examples of different lengths."""
    return [
        Example(
            id=f"task-{place}",
            prompt=f"{VERBS[place % 6]} {' and '.join(HARMLESS[: 1 + place % 4])} {place}",
            answer=f"{HARMLESS[place % 6]} {VERBS[place // 6 % 6]}"[: 8 + place % 9],
        )
        for place in range(count)
    ]


def make_features(
    model: torch.nn.Module,
    anatomy: Anatomy,
    prompts: PromptSets,
    *,
    width: int = 64,
    k: int = 16,
    latents: int = 8,
) -> SafetyFeatures:
    """Untrained SAEs with orthonormal-ish weights on every layer; random protected latents."""
    stream = torch.Generator().manual_seed(5)
    saes, protected, controls = {}, {}, {}
    for layer in range(anatomy.n_layers):
        decoder = torch.randn(width, anatomy.d_model, generator=stream)
        decoder = decoder / decoder.norm(dim=1, keepdim=True)
        # Untrained hidden states are small; the encoder's scale makes the loss of order one.
        encoder = 30.0 * decoder.T.contiguous()
        zeros = torch.zeros(width), torch.zeros(anatomy.d_model)
        config = {"architecture": "topk", "k": k, "normalize_activations": "none"}
        saes[layer] = Sae(encoder, zeros[0], decoder, zeros[1], config)
        order = torch.randperm(width, generator=stream)
        protected[layer] = order[:latents].sort().values
        controls[layer] = order[latents : 2 * latents].sort().values
    ids = tuple(prompt.id for prompt in prompts.get("safety", "harmful"))
    return SafetyFeatures(saes, protected, controls, ids)


def make_subspace(
    model: torch.nn.Module,
    anatomy: Anatomy,
    chat: Chat,
    prompts: PromptSets,
    measurement: MeasurementConfig,
    *,
    kind: Kind = "harmful",
    directions: Directions = "leading",
) -> SafetySubspace:
    """The safety subspace of the tiny model's linear maps on its refused safety requests.

    Like a stored fit it has bases for all maps; ``subspace.select("ffn")`` narrows it.
    """
    items = [chat.example_ids(p.text, p.answer or "") for p in prompts.get("safety", kind)]
    maps = (*anatomy.maps, anatomy.output) if measurement.outer_maps else anatomy.maps
    moments = collect_second_moments(model, maps, [collate(items, chat.pad_id)])
    return SafetySubspace.from_moments(
        moments,
        maps,
        tail_energy=measurement.tail_energy,
        rank=measurement.rank,
        directions=directions,
    )


def make_context(
    *,
    seed: int = 0,
    model: torch.nn.Module | None = None,
    chat: Chat | None = None,
    prompts: PromptSets | None = None,
    **experiment: Any,
) -> MethodContext:
    """Everything a method may see, around a fresh tiny model.

    ``experiment`` holds changes of ExperimentConfig; by default 12 steps of batch 8 at learning
    rate 1e-3 with rank 6.
    """
    chat = chat or make_chat()
    model = model if model is not None else make_model(chat)
    prompts = prompts or make_prompts()
    # Made at once: a method may ask for it when the model has been trained.
    base = make_base(model)
    anatomy = anatomy_of(model)
    config = ExperimentConfig(
        **{
            "training": TrainingConfig(steps=12, batch_size=8, learning_rate=1e-3),
            "measurement": MeasurementConfig(rank=6),
            "seed": seed,
        }
        | experiment
    )

    def fit_subspace(
        *, kind: Kind = "harmful", directions: Directions = "leading", **changes: Any
    ) -> SafetySubspace:
        measurement = config.measurement.model_copy(update=changes)
        return make_subspace(
            model, anatomy, chat, prompts, measurement, kind=kind, directions=directions
        )

    return MethodContext(
        config=config,
        model=model,
        anatomy=anatomy,
        chat=chat,
        aligned={name: p.detach().clone() for name, p in model.named_parameters()},
        prompts=prompts,
        yardstick=Yardstick(
            fit_subspace(), make_features(model, anatomy, prompts), "subspace-t", "features-t"
        ),
        fit_subspace=fit_subspace,
        generator=generator(seed, "method"),
        device=torch.device("cpu"),
        base_model=lambda: base,
    )


ContextBuilder = Callable[..., MethodContext]
