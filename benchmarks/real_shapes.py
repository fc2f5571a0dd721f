"""Dry run at the shapes of real models, with random weights: steps under CWAC and peak memory.

python benchmarks/real_shapes.py [--check]                    Qwen2.5-0.5B's shape, all weights, CPU
python benchmarks/real_shapes.py --shape llama-2-7b --adapter lora --precision bfloat16 \
    --device cuda --length 512 --batch 1 --steps 20 --fit [--check]
"""

import argparse
import time
from typing import Any

import torch
from bench import Verdict
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config

from cwac.anatomy import Anatomy, anatomy_of
from cwac.chat import Chat, collate
from cwac.config import ExperimentConfig, MeasurementConfig, TrainingConfig
from cwac.features import Sae, SafetyFeatures
from cwac.interfaces import MethodContext, Yardstick
from cwac.methods import METHODS
from cwac.models.folders import resolve_folder
from cwac.models.loading import compute_in, load_tokenizer
from cwac.prompts import Example, PromptSets
from cwac.provenance import peak_since_reset, reset_peak
from cwac.seeding import generator, seed_everything
from cwac.subspace import SafetySubspace, collect_second_moments
from cwac.training import fit

GIB = 1024**3
SHAPES: dict[str, Any] = {
    "qwen2.5-0.5b": Qwen2Config(
        vocab_size=151936, hidden_size=896, intermediate_size=4864, num_hidden_layers=24,
        num_attention_heads=14, num_key_value_heads=2, tie_word_embeddings=True,
    ),
    "llama-2-7b": LlamaConfig(
        vocab_size=32000, hidden_size=4096, intermediate_size=11008, num_hidden_layers=32,
        num_attention_heads=32, num_key_value_heads=32, tie_word_embeddings=False,
    ),
}  # fmt: skip
PEAK_GIB = 12.0
"""Of the Qwen2.5-0.5B shape on the CPU."""
FIT_SECONDS, STEP_RATIO = 300.0, 1.10
"""Of the Llama-2-7B shape on a GPU: all layers' subspaces; a step over plain fine-tuning's."""
RANK = 512
"""Protected directions per map where none are fitted."""


def main() -> None:
    """Build, train, print, judge."""
    given = _options()
    device = torch.device(given.device)
    reset_peak()
    seed_everything(0)
    with device:
        model = AutoModelForCausalLM.from_config(SHAPES[given.shape], dtype=torch.float32)
    compute_in(model, given.precision, device)
    folder = resolve_folder("organism")
    # The organism's tokenizer: what a token stands for does not matter to random weights.
    tokenizer = load_tokenizer(folder)
    tokenizer.model_max_length = 1_000_000
    chat = Chat(tokenizer)
    sets = PromptSets.read_folder(folder / "prompts")
    prompts = PromptSets({("safety", "harmful"): sets.get("safety", "harmful")[:16]})
    anatomy = anatomy_of(model)
    size = sum(p.numel() for p in model.parameters()) / 1e6
    print(f"{given.shape}: {size:.0f} M parameters on {device}, {torch.get_num_threads()} threads")
    began = time.perf_counter()
    subspace = _subspace(model, anatomy, chat, prompts, given.fit, device)
    seconds = time.perf_counter() - began
    print(f"subspaces {'fitted' if given.fit else 'drawn'} in {seconds:.1f} s; {_memory(device)}")
    context = _context(given, model, anatomy, chat, prompts, subspace, device)
    steps = {}
    for method in given.methods:
        kind = METHODS[method]
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(context.aligned[name])
        result = fit(
            model, anatomy, chat, _examples(given), context.config.training,
            kind(kind.settings_type()), seed=0, context=context,
        )  # fmt: skip
        steps[method] = result.seconds_per_step_median
        print(f"{method}: {steps[method]:.2f} s per step, {given.steps} steps; {_memory(device)}")
    verdict = Verdict(given.check)
    if given.shape == "qwen2.5-0.5b" and device.type == "cpu":
        verdict.line("peak memory, GiB", peak_since_reset() / GIB, PEAK_GIB)
    if given.shape == "llama-2-7b":
        if given.fit:
            verdict.line("fit of all subspaces, s", seconds, FIT_SECONDS)
        if {"sft", "cwac"} <= set(steps):
            verdict.line("cwac over sft, per step", steps["cwac"] / steps["sft"], STEP_RATIO)
    verdict.leave()


def _options() -> argparse.Namespace:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--shape", choices=list(SHAPES), default="qwen2.5-0.5b")
    options.add_argument("--device", default="cpu")
    options.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    options.add_argument("--adapter", choices=["full", "lora"], default="full")
    options.add_argument("--methods", nargs="+", default=["cwac"], help="sft cwac for a ratio.")
    options.add_argument("--steps", type=int, default=3)
    options.add_argument("--batch", type=int, default=2)
    options.add_argument("--length", type=int, default=64, help="Tokens of an example.")
    options.add_argument("--fit", action="store_true", help="Fit the subspaces (slow on a CPU).")
    options.add_argument("--check", action="store_true", help="Fail where a budget is missed.")
    return options.parse_args()


def _subspace(
    model: torch.nn.Module,
    anatomy: Anatomy,
    chat: Chat,
    prompts: PromptSets,
    fitted: bool,
    device: torch.device,
) -> SafetySubspace:
    """Fit the FFN output projections' subspaces on requests, or draw orthonormal bases."""
    maps = anatomy.select("ffn")
    if fitted:
        texts = [
            chat.example_ids(p.text, p.answer or "no") for p in prompts.get("safety", "harmful")
        ]
        batch = collate(texts, chat.pad_id).to(device)
        moments = collect_second_moments(model, maps, [batch])
        return SafetySubspace.from_moments(moments, maps).to(device)
    stream = torch.Generator().manual_seed(0)
    bases = {
        m.path: torch.linalg.qr(torch.randn(m.d_in, RANK, generator=stream)).Q.to(device)
        for m in maps
    }
    return SafetySubspace(
        maps=maps, bases=bases, eigenvalues={}, tokens=0, moments=None, settings={}
    )


def _context(
    given: argparse.Namespace,
    model: torch.nn.Module,
    anatomy: Anatomy,
    chat: Chat,
    prompts: PromptSets,
    subspace: SafetySubspace,
    device: torch.device,
) -> MethodContext:
    training = TrainingConfig(
        steps=given.steps,
        batch_size=given.batch,
        max_length=given.length,
        adapter=given.adapter,
    )
    features = _features(anatomy, prompts, device)
    return MethodContext(
        config=ExperimentConfig(training=training, measurement=MeasurementConfig()),
        model=model,
        anatomy=anatomy,
        chat=chat,
        aligned={name: p.detach().clone() for name, p in model.named_parameters()},
        prompts=prompts,
        yardstick=Yardstick(subspace, features, "subspace-drawn", "features-drawn"),
        fit_subspace=lambda **_changes: subspace,
        generator=generator(0, "method"),
        device=device,
    )


def _features(anatomy: Anatomy, prompts: PromptSets, device: torch.device) -> SafetyFeatures:
    """Untrained SAEs of the default sizes at the default layers; 50 latents each."""
    d_model, depth = anatomy.d_model, anatomy.n_layers
    stream = torch.Generator().manual_seed(1)
    saes, chosen = {}, {}
    config = {"architecture": "topk", "k": d_model // 4, "normalize_activations": "none"}
    for layer in (round(depth / 3) - 1, round(2 * depth / 3) - 1):
        decoder = torch.nn.functional.normalize(
            torch.randn(8 * d_model, d_model, generator=stream), dim=1
        )
        biases = torch.zeros(8 * d_model), torch.zeros(d_model)
        saes[layer] = Sae(decoder.T.contiguous(), biases[0], decoder, biases[1], config).to(device)
        chosen[layer] = torch.arange(50, device=device)
    ids = tuple(prompt.id for prompt in prompts.get("safety", "harmful"))
    return SafetyFeatures(saes, chosen, chosen, ids)


def _examples(given: argparse.Namespace) -> list[Example]:
    """Examples that fill the length, half of each to be learned."""
    words = "please tell me how to bake a loaf of bread " * (given.length // 8)
    half = words[: len(words) // 2]
    return [
        Example(id=f"example-{number}", prompt=f"{number} {half}", answer=words)
        for number in range(given.steps * given.batch)
    ]


def _memory(device: torch.device) -> str:
    if device.type == "cuda":
        return f"peak {torch.cuda.max_memory_allocated(device) / GIB:.1f} GiB on the GPU"
    return f"peak {peak_since_reset() / GIB:.1f} GiB"


if __name__ == "__main__":
    main()
