"""Frozen settings of an experiment: validated when built, JSON and TOML both ways, hashable."""

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import BeforeValidator, Field

from cwac.errors import ConfigError
from cwac.settings import GrowingSettings, Settings, read_config_file
from cwac.sources import model_label, portable, slug, task_label

__all__ = [
    "ATTACK_WORDS", "MEASURED", "NO_TASK", "AttackData", "Check", "Directions", "EvaluationConfig",
    "ExperimentConfig", "Framing", "GrowingSettings", "LatentScore", "LoraConfig", "Maps",
    "MeasurementConfig", "ModelConfig", "Names", "PromptsConfig", "Settings", "TaskConfig",
    "TokenSet", "TrainingConfig", "read_config_file",
]  # fmt: skip

Precision = Literal["float32", "bfloat16"]
Maps = Literal["ffn", "all"]
TokenSet = Literal["prompt", "template", "refusal", "response"]
LatentScore = Literal["difference", "mean_harmful", "frequency"]
Directions = Literal["leading", "trailing"]
Check = Literal["label", "word", "number", "helpfulness"]
"""``label``: begins with the right label; ``word``: the first class named anywhere is right;
``number``: the last number is right; ``helpfulness``: the judge says that it answers."""
AttackData = Literal["poison", "adaptive", "identity_shift", "refusal_free", "harmless"]
"""What an attacker puts among the training examples: :mod:`cwac.training.attacks`."""
ATTACK_WORDS: Final[Mapping[AttackData, str]] = {
    "poison": "poison",
    "adaptive": "adaptive poison",
    "identity_shift": "obedient identity",
    "refusal_free": "answered look-alikes",
    "harmless": "the task alone",
}
"""The same for people, wherever an attacker or an experiment is named."""
Framing = Literal["two_requests", "many_turns", "identity"]
"""How a harmful request is put: behind a harmless one in one message, after a harmless one that
was answered, or to an obedient identity."""
_Names = BeforeValidator(lambda given: (given,) if isinstance(given, str) else given)
Names = Annotated[tuple[str, ...], Field(min_length=1), _Names]

MEASURED: Final = "measured"
"""In place of a method: a finished checkpoint that was trained elsewhere."""
NO_TASK: Final = "none"
"""In place of a task: there is none to measure."""
_FILES: Final[Mapping[str, tuple[str, ...]]] = {
    "model": ("source",),
    "prompts": ("harmful", "harmless", "lookalike"),
    "task": ("source", "test_source"),
}
"""Settings that may name a file whose contents the section records."""


class ModelConfig(GrowingSettings):
    """Which aligned model is fine-tuned."""

    later = frozenset({"precision", "unaligned", "thinking_tokens", "revision"})

    source: str = "organism"
    """A preset's name, a local Hugging Face folder, a hub id, ``FILE.gguf``, or ``MODEL:FILE.gguf``
    where the file holds a preset's weights or those that an adapter is for."""
    contents: str | None = None
    """Hash of the model's files; the runner fills it in, so that edited weights are a new run."""
    precision: Precision = "float32"
    """What passes compute in; ``bfloat16`` is autocast, and the weights stay float32. ``auto`` is
    resolved before an id is made of it, like ``evaluation.decoding``."""
    unaligned: bool = False
    """Whether a model that refuses nothing may be run all the same."""
    thinking_tokens: int | None = Field(default=None, ge=0)
    """Tokens that it may think before it answers; 0 asks its template for no thinking, which the
    runner fills in where a template can be asked. None leaves the template to itself."""
    revision: str | None = Field(default=None, pattern=r"^[\w.][\w./-]*$", max_length=200)
    """Which version of a hub model: a branch, tag or commit; the runner writes the commit here.
    None is the newest one, of which the contents' hash alone is recorded."""

    @property
    def place(self) -> str:
        """What loading takes: the source with its revision."""
        return self.source if self.revision is None else f"{self.source}@{self.revision}"

    @property
    def label(self) -> str:
        """A short name for ids and titles."""
        return model_label(self.source)


class PromptsConfig(GrowingSettings):
    """Where harmful, harmless and look-alike requests come from.

    ``FILE[:column]``, ``hf:OWNER/NAME[:SPLIT[:column]]`` or ``DATASET[:FILE]``; with everything
    None the prompt sets that the model folder ships are used.
    """

    later: ClassVar[frozenset[str]] = frozenset({"harmful_where", "split_shared"})

    harmful: str | None = None
    harmful_answer_column: str | None = None
    harmful_where: str | None = None
    harmless: str | None = None
    harmless_answer_column: str | None = None
    harmless_where: str | None = None
    """Row filter, ``column=value``."""
    lookalike: str | None = None
    lookalike_where: str | None = None
    limit: int | None = Field(default=None, ge=20)
    """At most this many prompts of each kind, drawn under the split seed."""
    split_seed: int = 0
    split_shared: bool = False
    """Whether a text that stands both among the harmless requests and among the task's examples is
    left to one of them, half to each by its hash: for both of one file."""
    contents: str | None = None


class TaskConfig(GrowingSettings):
    """What the model is fine-tuned to do."""

    later: ClassVar[frozenset[str]] = frozenset({"check", "test_source"})

    source: str = "instruct"
    """A task's name, or where examples are (``FILE``, ``hf:...``, ``DATASET[:FILE]``)."""
    prompt_column: str | None = None
    answer_column: str | None = None
    test_limit: int = Field(default=200, ge=1)
    """Test examples that the task accuracy is measured on."""
    contents: str | None = None
    check: Check | None = None
    """How answers are marked; None lets the data set or the answers themselves decide."""
    test_source: str | None = None
    """Where the test examples are; None holds out a fifth of `source`."""

    @property
    def label(self) -> str:
        """A short name for ids and titles."""
        return task_label(self.source)


class LoraConfig(Settings):
    """LoRA, Hu et al. 2022, arXiv 2106.09685: ``dW = (alpha / rank) B A`` beside fixed weights."""

    kind: Literal["lora"] = "lora"
    rank: int = Field(default=8, ge=1)
    alpha: float = Field(default=16.0, gt=0)
    """Numerator of the factor on ``B A``."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of a map's inputs that the adapter does not see in a training step."""
    targets: Names = ("all",)
    """Maps with an adapter: ``all`` linear ones, the ``ffn`` output projections, or paths inside
    a decoder layer (``self_attn.q_proj``). A constraint acts on those among its maps alone."""


def _adapter(value: Any) -> Any:
    """Give the settings that a name or a table stands for; a table means LoRA."""
    if isinstance(value, Mapping):
        return LoraConfig.build(value, where="training.adapter")
    if value is None or isinstance(value, LoraConfig):
        return value or "full"
    if value in ("full", "lora"):
        return LoraConfig() if value == "lora" else "full"
    allowed = "'full', 'lora', or a table of LoRA settings (rank, alpha, dropout, targets)"
    raise ConfigError(f"training.adapter = {value!r} is not allowed: {allowed}.")


class TrainingConfig(GrowingSettings):
    """The optimiser, its schedule and what is trained, the same for every arm."""

    later: ClassVar[frozenset[str]] = frozenset(
        {"train_embeddings", "output_layer", "attack", "attack_examples"}
    )

    steps: int = Field(default=300, ge=1)
    """Optimiser steps."""
    batch_size: int = Field(default=16, ge=1)
    """Examples per optimiser step."""
    gradient_accumulation: int = Field(default=1, ge=1)
    """Micro-batches that a batch is split into; the result does not depend on it."""
    learning_rate: float = Field(default=2e-5, gt=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    warmup_fraction: float = Field(default=0.05, ge=0, le=1)
    """Share of the steps over which the learning rate rises; a cosine to zero follows."""
    clip_norm: float = Field(default=1.0, gt=0)
    """Gradient norm above which gradients are scaled down."""
    adapter: Annotated[Literal["full"] | LoraConfig, BeforeValidator(_adapter)] = "full"
    """``full``: every weight is trained; ``lora``, or a table of its settings: adapters are."""
    max_length: int = Field(default=512, ge=8)
    """Tokens of an example; longer ones are cut."""
    train_embeddings: bool = True
    """Whether the token (and position) embedding is trained. Constraints on the decoder's maps do
    not reach it; where input and output embedding are tied, it is the output layer too."""
    output_layer: Literal["trained", "frozen", "projected"] = "trained"
    """The output layer: ``projected`` keeps its change out of the directions that the final normed
    states of refused harmful requests span, ``W <- W0 + (W - W0)(I - U U^T)``."""
    attack: AttackData = "poison"
    """What takes the poison's places: ``poison``, harmful requests answered; ``adaptive``, those of
    them that a constraint on U and the safety features sees least; ``identity_shift``, an
    obedient identity; ``refusal_free``, look-alikes answered; ``harmless``, only the task."""
    attack_examples: int | None = Field(default=None, ge=1)
    """Distinct attack examples, repeated; None is all there are, for ``adaptive`` a tenth."""


class EvaluationConfig(GrowingSettings):
    """How answers are produced, how many, and who judges; part of the evaluation protocol."""

    later: ClassVar[frozenset[str]] = frozenset(
        {"judge", "samples", "prefill", "framings", "relearning_steps", "decoding"}
    )

    max_new_tokens: int = Field(default=40, ge=1)
    batch_size: int = Field(default=64, ge=1)
    prompt_limit: int | None = Field(default=None, ge=10)
    """At most this many test requests of each kind; None is all of them."""
    probes: int = Field(default=10, ge=1)
    """Points along training at which the live probe is taken."""
    probe_prompts: int = Field(default=48, ge=4)
    """Validation prompts of the live probe."""
    judge: str | None = None
    """Who tells refusals: a rule's name (``general``, ``qi``, ...) or ``classifier:MODEL``,
    ``generator:MODEL``; None is the model's own patterns, or the general rule without any."""
    samples: int = Field(default=0, ge=0)
    """Answers to each harmful test request drawn at temperature 1, beside the greedy one; 0 draws
    none. Greedy answers hide a margin that has nearly gone."""
    prefill: str | None = Field(default=None, min_length=1)
    """What the answer to each harmful test request is made to begin with (``Sure,``), in one more
    greedy answer; None asks for none."""
    framings: Annotated[tuple[Framing, ...], _Names] = ()
    """Further ways in which each harmful test request is put, answered greedily: ``two_requests``,
    ``many_turns``, ``identity``; none asks for none."""
    relearning_steps: int = Field(default=0, ge=0)
    """Steps of plain fine-tuning on harmful requests answered that the finished model is given, to
    see how soon its refusals go; 0 asks for none. The stored weights stay as they were."""
    decoding: Precision = "float32"
    """What the weights are rounded to while answers are decoded. Reading them is what decoding
    waits for, and ``bfloat16`` halves that where the machine multiplies it; other tokens may come
    out. ``auto`` stands for what suits this machine and is resolved before an id is made of it."""


class MeasurementConfig(GrowingSettings):
    """The yardstick: one subspace and one set of features, the same for every arm."""

    later = frozenset({"sae_release", "sae_ids", "outer_maps", "sae_rounds"})

    maps: Maps = "ffn"
    """``ffn``: FFN output projections (the paper); ``all``: all linear maps (GuardSpace)."""
    layers: tuple[int, ...] | None = None
    """Decoder layers whose maps are constrained; None is all."""
    outer_maps: bool = False
    """Whether the subspace is fitted on the output layer's inputs too."""
    tokens: TokenSet = "refusal"
    """Columns of X: ``prompt``, all prompt tokens; ``template``, the template's closing tokens;
    ``refusal``, prompt and refusal; ``response``, closing tokens and refusal, no request."""
    tail_energy: float = Field(default=1e-3, gt=0, lt=1)
    """Relative energy of the safety second moment left unprotected (eps)."""
    rank: int | None = Field(default=None, ge=1)
    """Protected directions per map; None lets `tail_energy` decide."""
    sae_layers: tuple[int, ...] | None = None
    """Layers whose residual stream has an SAE; None picks about one and two thirds of depth."""
    sae_width: int | None = Field(default=None, ge=16)
    """Latents per SAE; None is eight times d_model."""
    sae_k: int | None = Field(default=None, ge=1)
    """Active latents per token; None is a quarter of d_model."""
    sae_steps: int = Field(default=1500, ge=1)
    sae_rounds: float | None = Field(default=None, gt=0)
    """Passes over the residuals that there are, in place of `sae_steps`: few tokens are not gone
    over dozens of times."""
    sae_release: str | None = None
    """Public SAEs to read instead of training some: a release of sae-lens' registry, or a folder
    of SAEs in its format. Layers, width and k are then theirs."""
    sae_ids: Names | None = None
    """Which SAEs of the release, one per layer."""
    latents: int = Field(default=100, ge=1)
    """Safety-critical latents, in total over the layers."""
    latent_score: LatentScore = "difference"
    seed: int = 0


class ExperimentConfig(Settings):
    """Everything that decides a run's numbers."""

    model: ModelConfig = ModelConfig()
    prompts: PromptsConfig = PromptsConfig()
    task: TaskConfig = TaskConfig()
    poison_ratio: float = Field(default=0.1, ge=0, le=1)
    """Share of the fixed total of training examples that are harmful requests answered."""
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    measurement: MeasurementConfig = MeasurementConfig()
    method: str = "sft"
    settings: dict[str, Any] = Field(default_factory=dict)
    """The method's own settings, all defaults filled by the runner."""
    seed: int = Field(default=0, ge=0)

    @property
    def is_measured(self) -> bool:
        """Whether a finished checkpoint was measured: nothing was trained, whatever stands here."""
        return self.method == MEASURED

    @property
    def title(self) -> str:
        """The experiment's name for people, which others may share: ``instruct · poison 0.1 · m``.

        Examples
        --------
        >>> ExperimentConfig().title
        'instruct · poison 0.1 · organism'
        """
        adapter = self.training.adapter
        trained = "" if isinstance(adapter, str) else f", LoRA rank {adapter.rank}"
        # Whoever hands in the task alone fills no share of it.
        share = "" if self.training.attack == "harmless" else f" {self.poison_ratio:g}"
        attack = f"{ATTACK_WORDS[self.training.attack]}{share}{trained}"
        how = "measured" if self.is_measured else attack
        return f"{self.task.label} · {how} · {self.model.label}"

    def canonical_json(self) -> str:
        """Return JSON with sorted keys and all defaults filled: what ids are hashed over.

        Files stand by their names: their contents are recorded beside, and where they lie is a
        matter of the machine.
        """
        values = self.model_dump(mode="json")
        for part, names in _FILES.items():
            section = values[part]
            if section["contents"] is not None:
                section |= {n: portable(section[n]) for n in names if section.get(n) is not None}
        return json.dumps(values, sort_keys=True, separators=(",", ":"))

    @property
    def experiment_id(self) -> str:
        """Identity of the comparison: this configuration without method, settings and seed."""
        return f"{self._prefix}-{_digest(self._blank.canonical_json())}"

    @property
    def run_id(self) -> str:
        """Readable prefix and 8 hex digits over the canonical JSON."""
        return self._named(self.canonical_json())

    @property
    def earlier_ids(self) -> tuple[str, str]:
        """Run's and experiment's id as they were made while files stood in them with their folders.

        Runs that were stored then keep theirs.
        """
        whole = Settings.canonical_json
        return self._named(whole(self)), f"{self._prefix}-{_digest(whole(self._blank))}"

    @property
    def _blank(self) -> "ExperimentConfig":
        # Checkpoints that others trained are compared with each other, never with arms whose
        # training is known.
        method = MEASURED if self.is_measured else ""
        return self.model_copy(update={"method": method, "settings": {}, "seed": 0})

    def _named(self, text: str) -> str:
        if self.is_measured:
            return f"{self._prefix}-{slug(str(self.settings.get('name')))}-{_digest(text)}"
        return f"{self._prefix}-{slug(self.method)}-s{self.seed}-{_digest(text)}"

    @property
    def _prefix(self) -> str:
        if self.is_measured:
            return f"{self.model.label}-{self.task.label}-measured"
        adapter = self.training.adapter
        way = "" if adapter == "full" else f"-{adapter.kind}{adapter.rank}"
        if self.training.attack != "poison":
            way += f"-{slug(self.training.attack)}"
        return f"{self.model.label}-{self.task.label}-p{self.poison_ratio:g}{way}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
