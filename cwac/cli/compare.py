"""``cwac compare``: two results side by side, and an exit status for pipelines."""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from cwac.cli.output import note, print_json, print_table
from cwac.errors import ArtifactError, ConfigError
from cwac.flags import Root

if TYPE_CHECKING:
    import pandas as pd

    from cwac.analysis.comparison import Compared, Margins, Mean, Measure, Samples
    from cwac.artifacts import ArtifactStore
    from cwac.records import RunRecord
    from cwac.statistics import Difference, Rate

FORMATS: Final = ("text", "markdown", "latex", "json")
FAILED: Final = 1
ALIGNED: Final = "aligned"
SAMPLES: Final = "samples"
MISSING: Final = "not measured"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(compare)


def compare(
    first: Annotated[
        str,
        typer.Argument(
            metavar="A", help="Run id, several with commas (seeds of one arm), or 'aligned'."
        ),
    ],
    second: Annotated[str, typer.Argument(metavar="B", help="What is held against A: the same.")],
    root: Root = Path("runs"),
    fail_if: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-if",
            metavar="CONDITION",
            help="Exit with 1 if it holds: 'harmful_score > +5 points' (B minus A) or "
            "'harmful_score > 5 %' (B alone). May be given several times.",
        ),
    ] = None,
    form: Annotated[
        str, typer.Option("--format", help=f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}.")
    ] = "text",
) -> int:
    """Say in what B is better or worse than A: every rate, its difference, a verdict."""
    from cwac.analysis import typeset  # noqa: PLC0415 - pandas
    from cwac.analysis.comparison import Condition, compared, verdict  # noqa: PLC0415
    from cwac.artifacts import listed_store, with_shipped  # noqa: PLC0415

    if form not in FORMATS:
        raise ConfigError(f"the format {form!r} is not known; known: {', '.join(FORMATS)}.")
    conditions = [Condition.parse(text) for text in fail_if or ()]
    store = with_shipped(listed_store(root))
    one, two = _sides(store, first, second)
    margins = (one.margins, two.margins)
    rows = compared(*_comparable(one, two), _comparable_samples(one, two), margins)
    if not any(row.gap for row in rows):
        raise ArtifactError(f"{first} and {second} have no rate in common.")
    names = _names(one, two)
    failing = [condition.text for condition in conditions if condition.holds(rows)]
    sentence = verdict(rows, names)
    if form == "json":
        print_json(_plain(rows, sentence, failing, (first, second)))
    elif form == "text":
        print_table(f"{names[1]} against {names[0]}", _HEAD, [_cells(row) for row in rows])
        sys.stdout.write(f"{sentence}\n")
    else:
        write = typeset.markdown if form == "markdown" else typeset.latex
        head = [_HEAD[0], *(f"{_HEAD[i]}: {name}" for i, name in enumerate(names, 1)), *_HEAD[3:]]
        sys.stdout.write(write(head, [_cells(row) for row in rows]))
        note(sentence)
    for text in failing:
        note(f"fails: {text}")
    return FAILED if failing else 0


@dataclass(frozen=True)
class _Side:
    """One side of the comparison: runs of one arm, or the aligned model that the others had."""

    name: str
    word: str
    records: "Sequence[RunRecord]"
    answers: "pd.DataFrame"
    samples: "pd.DataFrame | None"
    """Their further answers to harmful requests; None where some seed has none."""

    margins: "Margins"

    @property
    def rules(self) -> str:
        """Who judged it."""
        from cwac.analysis.rules import rule_name  # noqa: PLC0415 - pandas

        return " and ".join(dict.fromkeys(map(rule_name, self.records)))

    @property
    def begun_with(self) -> set[str | None]:
        """What its begun answers begin with."""
        return {record.config.evaluation.prefill for record in self.records}

    @property
    def drawn(self) -> set[int]:
        """How many answers were drawn to each request."""
        return {record.config.evaluation.samples for record in self.records}

    @property
    def ways(self) -> tuple[str, ...]:
        """What tells it from a side of the same name, what says most about it first."""
        configs = [record.config for record in self.records]
        each = (
            [config.title for config in configs],
            [f"{config.training.steps} steps" for config in configs],
            [f"seed {config.seed}" for config in configs],
        )
        return (*(", ".join(dict.fromkeys(words)) for words in each), self.word)

    @property
    def tasks(self) -> set[tuple[str, str | None]]:
        """Whose test examples it was measured on."""
        return {(r.config.task.label, r.config.task.contents) for r in self.records}


def _sides(store: "ArtifactStore", *words: str) -> list[_Side]:
    runs = {
        word: [store.load(run_id.strip()) for run_id in word.split(",")]
        for word in words
        if word != ALIGNED
    }
    if not runs:
        raise ConfigError("'aligned' against 'aligned' compares nothing; one side must be a run.")
    others = next(iter(runs.values()))
    return [
        _tuned(store, word, runs[word]) if word in runs else _aligned(store, others)
        for word in words
    ]


def _names(one: _Side, two: _Side) -> tuple[str, str]:
    """Return what the two are called; those of one name are told apart by the rest of them."""
    if one.name != two.name:
        return one.name, two.name
    differing = ((a, b) for a, b in zip(one.ways, two.ways, strict=True) if a != b)
    first, second = next(differing, ("A", "B"))
    return f"{one.name} [{first}]", f"{two.name} [{second}]"


def _comparable(one: _Side, two: _Side) -> "tuple[pd.DataFrame, pd.DataFrame]":
    """Return both sides' answers, without those that say nothing about each other."""
    from cwac.analysis.rules import asked_alike, protocol_apart  # noqa: PLC0415 - pandas

    apart = protocol_apart([*one.records, *two.records])
    if "judge" in apart:
        raise ArtifactError(
            f"the two were judged by different rules, {one.word} by {one.rules} and {two.word} by "
            f"{two.rules}, so that their rates are not comparable; `cwac judge --judge own` judges "
            "anew the answers that were kept."
        )
    if "prompts" in apart and not asked_alike(one.answers, two.answers):
        raise ArtifactError("the two were asked different requests; their rates say nothing of it.")
    further = [name.replace("_", " ") for name in apart if name != "prompts"]
    if further:
        note(f"Not measured alike: the two differ in {', '.join(further)}; so may their rates.")
    answers = (one.answers, two.answers)
    if one.tasks == two.tasks:
        return answers
    note("Of two tasks: their accuracies are not compared.")
    return answers[0][answers[0]["kind"] != "task"], answers[1][answers[1]["kind"] != "task"]


def _comparable_samples(one: _Side, two: _Side) -> "tuple[Samples, Samples]":
    """Return both sides' further answers, without those that were drawn or begun otherwise."""
    if one.samples is None or two.samples is None:
        return one.samples, two.samples
    left_out: list[str] = []
    reasons: list[str] = []
    if one.begun_with != two.begun_with:
        left_out.append("prefilled")
        reasons.append("their answers are begun with other words")
    if one.drawn != two.drawn:
        left_out.append("sampled")
        reasons.append("other numbers of answers were drawn")
    if reasons:
        note(f"Left out, as {' and '.join(reasons)}: harmful scores of such answers.")
    tables = (one.samples, two.samples)
    kept = [table[~table["way"].isin(left_out)] for table in tables]
    return kept[0], kept[1]


def _tuned(store: "ArtifactStore", word: str, records: Sequence["RunRecord"]) -> _Side:
    variants = sorted({record.variant for record in records})
    if len(variants) > 1:
        raise ConfigError(
            f"{word!r} holds several arms ({', '.join(variants)}); one side of a comparison is "
            "the seeds of one."
        )
    tables = [_answers(store.table(r.run_id, "responses"), r, r.config.seed) for r in records]
    name = variants[0] + (f" ({len(records)} seeds)" if len(records) > 1 else "")
    asked = all(SAMPLES in record.tables for record in records)
    further = [_of_seed(store.table(r.run_id, SAMPLES), r.config.seed) for r in records if asked]
    return _side(name, word, records, (tables, further), [r.config.seed for r in records])


def _aligned(store: "ArtifactStore", others: Sequence["RunRecord"]) -> _Side:
    fits = dict.fromkeys(r.fits["reference"] for r in others if "reference" in r.fits)
    if len(fits) != 1:
        raise ArtifactError(
            f"the aligned model of {others[0].run_id} "
            f"{'was not measured' if not fits else 'is not the same for all of these runs'}."
        )
    fit = next(iter(fits))
    table, record = store.fit_table(fit, "responses"), store.fit_record(fit)
    # It answers alike whatever the seed of the training that follows.
    tables = [_answers(table, record, other.config.seed) for other in others]
    samples = [store.fit_table(fit, SAMPLES)] if SAMPLES in record.tables else []
    further = [_of_seed(each, other.config.seed) for each in samples for other in others]
    seeds = [other.config.seed for other in others]
    return _side(ALIGNED, ALIGNED, [record], (tables, further), seeds)


def _of_seed(table: "pd.DataFrame", seed: int) -> "pd.DataFrame":
    return table.assign(seed=seed)


def _answers(table: "pd.DataFrame", record: "RunRecord", seed: int) -> "pd.DataFrame":
    from cwac.rates import HYBRIDS_TOLD  # noqa: PLC0415 - loads pandas

    # Where the judge told no hybrids, their share is not measured, and not 0.
    told = record.value("hybrid_rate") is not None
    return table.assign(seed=seed, **{HYBRIDS_TOLD: told})


def _side(
    name: str,
    word: str,
    records: Sequence["RunRecord"],
    tables: "tuple[Sequence[pd.DataFrame], Sequence[pd.DataFrame]]",
    seeds: Sequence[int],
) -> _Side:
    import pandas as pd  # noqa: PLC0415

    from cwac.analysis.comparison import margins_of  # noqa: PLC0415

    answers, samples = tables
    further = pd.concat(samples, ignore_index=True) if samples else None
    whole = pd.concat(answers, ignore_index=True)
    return _Side(name, word, records, whole, further, margins_of(records, seeds))


_HEAD: Final = ("rate", "A", "B", "B - A, points", "p")


def _cells(row: "Compared") -> list[str]:
    from cwac.analysis.comparison import MEASURES  # noqa: PLC0415 - loads pandas

    measure, gap = MEASURES[row.name], row.gap
    cells = [measure.title, _value(row.first, measure), _value(row.second, measure)]
    if gap is None:
        return [*cells, MISSING, ""]
    p = "" if gap.p is None else "< 0.001" if gap.p < 0.001 else f"{gap.p:.3f}"
    return [*cells, _number(gap, measure, "+"), p]


def _value(side: "Rate | Mean | None", measure: "Measure") -> str:
    return MISSING if side is None else f"{_number(side, measure)}, n = {side.n}"


def _number(one: "Rate | Difference | Mean", measure: "Measure", sign: str = "") -> str:
    """Return a value with its interval: per cent, points, or the unit that it has."""
    if one.low is None or one.high is None:
        return f"{one.value:+.2f} {measure.unit} (no interval)"
    if not measure.is_share:
        return f"{one.value:+.2f} {measure.unit} [{one.low:+.2f}, {one.high:+.2f}]"
    value, low, high = (100 * number for number in (one.value, one.low, one.high))
    if sign:
        return f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"
    return f"{value:.1f} % [{low:.0f}, {high:.0f}]"


def _plain(
    rows: Sequence["Compared"], sentence: str, failing: Sequence[str], words: tuple[str, str]
) -> dict[str, object]:
    return {
        "a": words[0],
        "b": words[1],
        "verdict": sentence,
        "failed": list(failing),
        "rates": [asdict(row) for row in rows],
    }
