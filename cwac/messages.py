"""What the command line prints for the app, and for scripts that read ``--json``.

Keys are public. Keys that this version does not know are skipped.
"""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from cwac.errors import ArtifactError


class Message(BaseModel):
    """Base of every message: immutable, read from JSON."""

    model_config = ConfigDict(frozen=True)

    @classmethod
    def parse(cls, text: str | bytes, name: str) -> Self:
        """Read a message; `name` says in an error where it stood.

        Raises
        ------
        ArtifactError
            It is not JSON, lacks a key, or a value is of another type.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as report:
            first = report.errors(include_url=False, include_context=False)[0]
            place = "".join(f"{part}: " for part in first["loc"])
            raise ArtifactError(f"{name} cannot be read: {place}{first['msg']}.") from None


# The catalogue: ``cwac list``


class ModelDefaults(Message):
    """What a model's card sets, section by section."""

    training: dict[str, Any] = {}
    tasks: dict[str, dict[str, Any]] = {}
    evaluation: dict[str, Any] = {}
    measurement: dict[str, Any] = {}
    methods: dict[str, dict[str, Any]] = {}


class ModelEntry(Message):
    """A model that can be named."""

    name: str
    title: str = ""
    summary: str = ""
    source: str = ""
    parameters: int | None = None
    saes: str = ""
    shipped: bool = False
    problem: str | None = None
    """Why a shipped model cannot be used."""
    defaults: ModelDefaults = ModelDefaults()


class TaskEntry(Message):
    """A task that can be named."""

    name: str
    title: str = ""
    chance: float | None = None


class DatasetEntry(Message):
    """A data set with a ready mapping."""

    name: str
    title: str = ""
    use: tuple[str, ...] = ()
    """The flags that it can be given to."""
    columns: str = ""
    check: str | None = None
    hub: str = ""
    source: str = ""
    instruction: str = ""


class JudgeEntry(Message):
    """A judge that can be named."""

    name: str
    title: str = ""
    form: str = ""
    tells: str = ""
    model: str | None = None
    source: str = ""
    phrases: tuple[str, ...] = ()


class MethodEntry(Message):
    """A method with what must be known to choose it."""

    name: str
    title: str = ""
    stage: str = ""
    control: bool = False
    needs: tuple[str, ...] = ()
    adapters: tuple[str, ...] = ("full", "lora")
    strength_knob: str | None = None
    extra_passes: float = 0.0
    summary: str = ""
    source: str = ""
    deviation: str = ""
    published: dict[str, Any] = {}
    """Values of its settings that its source states."""
    settings: dict[str, Any] = {}


class MetricEntry(Message):
    """A number that runs are measured by."""

    name: str
    title: str = ""
    unit: str = ""
    direction: str = "neither"
    range: tuple[float, float] | None = None


class Catalogue(Message):
    """Everything that can be chosen, in the registries' order."""

    models: tuple[ModelEntry, ...]
    tasks: tuple[TaskEntry, ...]
    datasets: tuple[DatasetEntry, ...] = ()
    judges: tuple[JudgeEntry, ...] = ()
    methods: tuple[MethodEntry, ...]
    metrics: tuple[MetricEntry, ...] = ()


# What becomes of a user's data: ``cwac preview --data-only``


class BrokenSource(Message):
    """A source that cannot be used, and why."""

    role: str
    source: str
    error: str


class SourceRow(Message):
    """A row as it will be used."""

    row: int
    text: str
    answer: str | None = None
    category: str | None = None


class SourceProblem(Message):
    """A row that cannot be used."""

    row: int
    column: str
    found: str
    allowed: str


class Source(Message):
    """A source, the columns that are used of it, and its first rows."""

    role: str
    source: str
    dataset: str | None
    columns: tuple[str, ...]
    """All that it has."""
    prompt: tuple[str, ...]
    answer: str | None
    category: str | None
    where: str | None
    check: str | None
    instruction: str
    """Stands above every text."""
    choices: tuple[str, ...]
    total: int
    used: int
    filtered: int
    empty: tuple[int, ...]
    """The first rows left out because they are incomplete; rows are counted from 1."""
    repeated: tuple[int, ...]
    empty_count: int
    repeated_count: int
    problem_count: int
    problems: tuple[SourceProblem, ...]
    first: tuple[SourceRow, ...]


class Sources(Message):
    """Every source that the flags name."""

    data: tuple[Source | BrokenSource, ...] = ()


# What a run will train on and cost: ``cwac preview``


class PreviewExample(Message):
    """A training example as the model sees it."""

    id: str
    poison: bool
    tokens: tuple[tuple[str, bool], ...]
    """Text, and whether the loss is computed on it."""


class PlannedRun(Message):
    """A run that is asked for."""

    run_id: str
    variant: str = ""
    seed: int = 0
    complete: bool
    """Whether it is stored already."""


class Preview(Message):
    """The exact training text, and estimates of time and memory."""

    template: str
    examples: tuple[PreviewExample, ...]
    runs: tuple[PlannedRun, ...] = ()
    seconds: float | None = None
    """Of all runs that are not complete."""
    seconds_per_arm: dict[str, float] = {}
    memory_bytes: int | None = None
    warnings: tuple[str, ...] = ()
    data: tuple[Source | BrokenSource, ...] = ()
    """What becomes of the user's own files."""


# Answers of kept runs: ``cwac answer``


class AnswerToken(Message):
    """A token of an answer, as the model stood before it."""

    text: str
    divergence: float | None = None
    """KL(aligned || model) of the next token, in nats, both reading the answer so far; None for
    the aligned model."""
    refusal_log_odds: float | None = None
    """Of one of the tokens that refusals begin with coming next."""


class RestoredPart(Message):
    """A request's refusal log-odds with one part of a run's update put back alone."""

    part: str
    """As in the table ``dissection``; ``everything`` is the whole update."""
    layer: int | None = None
    refusal_log_odds: float
    control: float | None = None
    """With random rows of the same update norm put back instead; None of the whole update and of a
    wide model."""


class Answer(Message):
    """What one model answers."""

    run_id: str | None = None
    """None for the aligned model."""
    variant: str
    seed: int | None = None
    text: str
    cut: bool = False
    """Whether it reached the length cap."""
    thought: str | None = None
    """The thinking trace before it."""
    outcome: str
    reason: str | None = None
    refusal_log_odds: float | None = None
    along: tuple[AnswerToken, ...] = ()
    """None behind a thinking trace."""
    restored: tuple[RestoredPart, ...] = ()
    """What restoring each part would do to the first token, where it was asked for."""


class AskedRate(Message):
    """A share of the answers to a set of requests, with its 95 % interval (Wilson)."""

    name: str
    value: float | None
    n: int
    low: float | None
    high: float | None


class AskedArm(Message):
    """What one model's answers to a set of requests come to."""

    run_id: str | None = None
    """None for the aligned model."""
    variant: str
    seed: int | None = None
    rates: tuple[AskedRate, ...]


class AskedRequests(Message):
    """A set of requests, asked of the aligned model and of kept runs."""

    source: str
    kind: str
    arms: tuple[AskedArm, ...]
    known: int
    """Requests left out: they or near-duplicates taught, fitted, poisoned or chose something."""
    tested: int
    """Those asked that are among the runs' own test requests, or nearly."""


class TokenReading(Message):
    """A token of a templated request, and what a latent does there."""

    text: str
    activation: float | None = None
    """None at the first token, which is not read."""


class Reading(Message):
    """A latent along a request in one model."""

    run_id: str | None = None
    """None for the aligned model."""
    variant: str
    seed: int | None = None
    tokens: tuple[TokenReading, ...]


class Readings(Message):
    """A latent along a request in several models, the aligned model first: ``cwac activations``."""

    prompt: str
    layer: int
    latent: int
    readings: tuple[Reading, ...]


class SteeringFile(Message):
    """What ``cwac steer`` wrote."""

    path: str
    hookpoint: str
    """The module whose output is changed, named as lm-evaluation-harness names it."""
    layer: int
    latent: int
    coefficient: float


class Outside(Message):
    """How far a request lies from the made-up world that a model knows alone."""

    unknown: tuple[str, ...] = ()
    """Its words that no request of that world has."""
    nearest: str = ""
    """The request of that world that shares most words with it."""
    shared: float = 1.0
    """The share of both requests' words that they have in common."""


class Answers(Message):
    """A request with the answers to it, the aligned model's first."""

    prompt: str
    answers: tuple[Answer, ...]
    held: tuple[Answer, ...] = ()
    """The same models' answers while a latent is clamped or scaled, where one was named."""
    outside: Outside | None = None
    """None where it lies inside the model's world, or the model's card names no such world."""
