"""Build a model organism from nothing, and check what it must be able to do."""

import copy
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from cwac.anatomy import anatomy_of
from cwac.artifacts import ArtifactStore, give_usual_modes, sweep, temporary_name
from cwac.chat import IGNORED, Batch, Chat
from cwac.config import MeasurementConfig, TrainingConfig
from cwac.errors import DataError
from cwac.interfaces import Method, MethodSettings
from cwac.models.loading import load_model
from cwac.models.organism.corpus import Turn, aligned_corpus, base_corpus
from cwac.models.organism.recipes import RECIPES, Recipe
from cwac.models.organism.settings import OrganismSize, StageSettings
from cwac.models.organism.task_data import build_tasks
from cwac.models.organism.tokenizer import train_tokenizer
from cwac.models.organism.world import World, build_world
from cwac.preparation.fits import prepare_yardstick
from cwac.preparation.organism_check import OrganismCheck, as_card, check_organism
from cwac.preparation.progress import Progress, report_part, silent
from cwac.prompts import KINDS, SPLITS, Example, Prompt, PromptSets, write_lines
from cwac.seeding import seed_everything
from cwac.training import StepReport, fit

__all__ = ["OrganismCheck", "build_organism", "check_organism", "new_model"]

BASE: Final = "base"
"""Folder of the model before it is aligned."""
_BUCKET: Final = 16
"""Batches whose examples are sorted by length together, so that little is padded."""


class _WholeText(Method[MethodSettings]):
    """Learn the requests as well as the answers: what a base model is made with."""

    name = "whole_text"

    def task_loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the summed loss over all real tokens, scaled to the number of answer tokens.

        The loop divides by the answer tokens; with the scale its loss stays a mean per token.
        """
        labels = batch.input_ids.masked_fill(batch.attention_mask == 0, IGNORED)[:, 1:]
        logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
        summed = functional.cross_entropy(
            logits[:, :-1].flatten(0, 1), labels.flatten(), reduction="sum"
        )
        answers = (batch.labels[:, 1:] != IGNORED).sum()
        return summed * answers / (labels != IGNORED).sum()


def build_organism(
    out: Path,
    *,
    recipe: Recipe = RECIPES["organism"],
    seed: int | None = None,
    progress: Progress = silent,
    size: OrganismSize | None = None,
    stages: tuple[StageSettings, StageSettings] | None = None,
) -> None:
    """Write an organism's folder: its models, tokenizer, prompts, tasks, judge, card and fits.

    The subspace and the features of the card's own settings go into ``fits/``, where every
    session with these settings finds them. A compact recipe's folder has neither fits nor base
    model; what the check measures with both models stands in the card. Nothing stands at `out`
    before everything is written.

    Parameters
    ----------
    out : Path
        The folder; it must not exist yet.
    recipe : Recipe
        Which organism.
    seed : int, optional
        Decides the corpus, the initial weights and the order of the examples, the recipe's where
        it is left out. The fits have the seed of the measurement's own settings.
    progress : callable, optional
        Called with the share of the whole that is done and what is being done.
    size : OrganismSize, optional
        Shape of the model.
    stages : pair of StageSettings, optional
        How the base and the aligned model are trained, instead of as the recipe says.

    Raises
    ------
    DataError
        `out` exists.
    """
    if out.exists():
        raise DataError(f"{out} exists already; remove it or choose another folder.")
    seed = recipe.seed if seed is None else seed
    stages = (recipe.base, recipe.aligned) if stages is None else stages
    out.parent.mkdir(parents=True, exist_ok=True)
    sweep(out.parent)
    scratch = temporary_name(out)
    scratch.mkdir()
    # Threads split sums differently: on one, a seed gives the same weights on any number of cores.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        progress(0.0, "world")
        world = build_world(seed, recipe.form)
        tasks = build_tasks(world, seed)
        _write_world(scratch, world, tasks, recipe)
        corpora = base_corpus(world, seed=seed), aligned_corpus(world, seed=seed)
        tokenizer = _tokenizer(corpora, tasks, size or OrganismSize())
        seed_everything(seed)
        model = new_model(tokenizer, size or OrganismSize())
        weights = [stage.steps for stage in stages]
        rules = _WholeText(MethodSettings()), Method(MethodSettings())
        for number, name in enumerate(("base", "aligned")):
            start, span = sum(weights[:number]) / sum(weights), weights[number] / sum(weights)

            def on_step(
                report: StepReport, stage: str = name, a: float = start, b: float = span
            ) -> None:
                progress(0.02 + 0.83 * (a + b * report.step / report.steps), stage)

            _train(model, tokenizer, corpora[number], stages[number], rules[number], seed, on_step)
            folder = scratch / BASE if name == "base" else scratch
            _save(model, tokenizer, folder, recipe)
        if recipe.compact:
            _put_figures(scratch, recipe)
        else:
            _fit_yardstick(scratch, report_part(progress, 0.85, 1.0))
        give_usual_modes(scratch)
        scratch.rename(out)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    finally:
        torch.set_num_threads(threads)
    progress(1.0, "done")


def _save(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path, recipe: Recipe
) -> None:
    # Rounded weights are where every run begins: nothing is rounded again.
    kept = copy.deepcopy(model).half() if recipe.compact else model
    kept.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _put_figures(folder: Path, recipe: Recipe) -> None:
    """Measure what ships and put it into the card; the base model goes once it is measured."""
    _write_json(folder / "cwac.json", recipe.card() | {"base": BASE})
    figures = check_organism(folder).figures
    shutil.rmtree(folder / BASE)
    _write_json(folder / "cwac.json", recipe.card(as_card(figures)))


def _fit_yardstick(folder: Path, progress: Progress) -> None:
    """Fit subspace and features as a session with the card's defaults would, into the folder."""
    loaded = load_model(folder)
    assert loaded.card.prompts is not None
    prompts = PromptSets.read_folder(folder / loaded.card.prompts)
    measurement = MeasurementConfig.build(loaded.card.defaults.measurement)
    seed_everything(measurement.seed)
    prepare_yardstick(loaded, prompts, measurement, ArtifactStore(folder), progress)


def new_model(tokenizer: PreTrainedTokenizerFast, size: OrganismSize) -> LlamaForCausalLM:
    """Return an untrained Llama of the organism's shape, for this tokenizer."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=size.d_model,
            intermediate_size=size.d_ff,
            num_hidden_layers=size.layers,
            num_attention_heads=size.heads,
            num_key_value_heads=size.heads,
            max_position_embeddings=size.positions,
            rms_norm_eps=1e-5,
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )


def _tokenizer(
    corpora: Sequence[Sequence[Turn]],
    tasks: dict[str, dict[str, list[dict[str, object]]]],
    size: OrganismSize,
) -> PreTrainedTokenizerFast:
    """Train the tokenizer on all words of the world, those of the tasks included."""
    texts = [text for corpus in corpora for turn in corpus for text in turn]
    texts += [
        str(row[part])
        for splits in tasks.values()
        for row in splits["train"]
        for part in ("prompt", "answer")
    ]
    return train_tokenizer(texts, size.vocabulary)


def _train(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    turns: Sequence[Turn],
    stage: StageSettings,
    rule: Method[Any],
    seed: int,
    on_step: Callable[[StepReport], None],
) -> None:
    chat = Chat(tokenizer)
    config = TrainingConfig(
        steps=stage.steps,
        batch_size=stage.batch_size,
        learning_rate=stage.learning_rate,
        weight_decay=stage.weight_decay,
        warmup_fraction=stage.warmup_fraction,
        train_embeddings=stage.train_embeddings,
    )
    examples = _in_batches(turns, stage, Random(f"order-{seed}"))
    fit(model, anatomy_of(model), chat, examples, config, rule, seed=seed, on_step=on_step)
    model.eval()


def _in_batches(turns: Sequence[Turn], stage: StageSettings, rng: Random) -> list[Example]:
    """Return the examples in order of presentation, each batch of similar lengths."""
    examples = [
        Example(id=str(number), prompt=request, answer=answer)
        for number, (request, answer) in enumerate(turns)
    ]
    order: list[Example] = []
    while len(order) < stage.steps * stage.batch_size:
        shuffled = rng.sample(examples, len(examples))
        batches: list[list[Example]] = []
        for start in range(0, len(shuffled), stage.batch_size * _BUCKET):
            bucket = shuffled[start : start + stage.batch_size * _BUCKET]
            bucket.sort(key=lambda example: len(example.prompt) + len(example.answer))
            batches += [
                bucket[i : i + stage.batch_size] for i in range(0, len(bucket), stage.batch_size)
            ]
        # A short last batch would shift the borders of all that follow it.
        full = [batch for batch in batches if len(batch) == stage.batch_size]
        rng.shuffle(full)
        order += [example for batch in full for example in batch]
    return order[: stage.steps * stage.batch_size]


def _write_world(
    folder: Path, world: World, tasks: dict[str, dict[str, Any]], recipe: Recipe
) -> None:
    PromptSets(
        {
            (split, kind): [
                Prompt.model_validate({"kind": kind, **row.as_row()})
                for row in world.requests[split, kind]
            ]
            for split in SPLITS
            for kind in KINDS
        }
    ).write_folder(folder / "prompts")
    for task, splits in tasks.items():
        (folder / "tasks" / task).mkdir(parents=True)
        for split, rows in splits.items():
            # The training part is ten times the others; those are left for people to open.
            suffix = ".jsonl.gz" if split == "train" else ".jsonl"
            write_lines(folder / "tasks" / task / f"{split}{suffix}", rows)
    _write_json(folder / "judge.json", recipe.judge)
    _write_json(folder / "cwac.json", recipe.card())


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
