"""Every method in every setting: which settings there are, what each cell says, and the counts."""

from types import SimpleNamespace as Fake

import pandas as pd
import pytest
from named_arms import arms

from cwac.analysis.attacks import under_each_attacker
from cwac.analysis.everywhere import (
    HERE,
    Setting,
    cells_of,
    cells_of_decodings,
    counts,
    defaults_sentence,
    everywhere,
    everywhere_sentence,
    everywhere_text,
    everywhere_title,
    followed,
    settings_beside,
)
from cwac.analysis.holding import FAILS, HOLDS, PRICED
from cwac.arms import ALIGNED, Arm
from cwac.config import ExperimentConfig
from cwac.figures.results.everywhere import everywhere_figure

HARM = "sampled_harmful_score"
FIRST = Setting(HERE, "organism, instruct")
LISA = Arm(method="lisa", changed={"strength": 2.0}, tuned=True)


def experiment(number: int, runs: int = 1, judge: str = "j", **settings: object) -> Fake:
    config = ExperimentConfig.build({"method": "sft", **settings})
    records = tuple(
        Fake(
            run_id=f"{number}-{seed}",
            config=config,
            arm=Arm(method="sft"),
            value=lambda name: 0.1,
            protocol={"judge": judge, "hybrids": "told", "evasion": "told"},
        )
        for seed in range(runs)
    )
    return Fake(records=records, judge=judge)


def verdicts(**rows: tuple[float, str]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "variant": variant,
            "harmful_score": value,
            "harmful_score_low": value - 0.02,
            "harmful_score_high": value + 0.02,
            "harmful_score_n": 100,
            "seeds": 2,
            "verdict": verdict,
            "price": "paid" if PRICED in verdict else "free",
        }
        for variant, (value, verdict) in rows.items()
    )


def table() -> pd.DataFrame:
    reference = {"aligned": (0.01, "reference"), "sft": (0.96, "reference")}
    shown = arms("sft", "cwac", "kl_to_aligned")
    places = {
        FIRST: verdicts(**reference, cwac=(0.02, HOLDS), kl_to_aligned=(0.03, HOLDS)),
        Setting("task", "topic"): verdicts(
            **reference, cwac=(0.97, FAILS), kl_to_aligned=(0.03, f"{HOLDS} {PRICED}")
        ),
        Setting("model", "b"): verdicts(
            **reference, cwac=(0.6, FAILS), kl_to_aligned=(0.01, HOLDS), ewc=(0.0, HOLDS)
        ),
        Setting("poison", "0\u00a0%"): verdicts(
            **reference,
            cwac=(0.0, "undecided: SFT lost too little"),
            kl_to_aligned=(0.0, "undecided: SFT lost too little"),
        ),
    }
    rows = [row for place, each in places.items() for row in cells_of(place, each, shown)]
    return followed(everywhere(rows))


def test_settings_differ_in_one_thing_from_the_one_in_view() -> None:
    first = experiment(0, poison_ratio=0.1)
    more, other = (
        experiment(1, poison_ratio=0.5),
        experiment(2, task={"source": "topic"}, poison_ratio=0.1),
    )
    both = experiment(3, task={"source": "topic"}, poison_ratio=0.5)
    longer = experiment(4, poison_ratio=0.1, training={"steps": 999})
    rule = experiment(5, poison_ratio=0.2, judge="another")
    found = settings_beside(first, [longer, both, other, more, rule, first])
    assert list(found.values()) == [first, other, more, longer]
    assert [setting.group for setting in found] == [HERE, "task", "poison", "attacker"]
    assert [setting.setting for setting in found][2] == "50\u00a0%"
    assert list(under_each_attacker(first, [more])) == [], "another ratio is no attacker"
    alone = experiment(6, poison_ratio=0.1, training={"attack": "harmless"})
    assert alone in settings_beside(first, [alone, other]).values()
    none = experiment(7, poison_ratio=0.0)
    assert alone not in settings_beside(first, [alone, none]).values(), "no poison, told twice"


def test_an_attacker_is_named_by_what_most_runs_do() -> None:
    usual, longer = experiment(0, runs=3), experiment(1, training={"steps": 999})
    named = under_each_attacker(longer, [usual])
    assert list(named.values()) == [longer, usual]
    assert list(named)[1] == "the usual attacker"


def test_a_method_stands_at_its_tuned_settings_and_controls_have_no_column() -> None:
    shown = [*arms("sft", "lisa", "cwac (subspace=random)"), LISA]
    table = verdicts(
        **{"sft": (0.9, "reference"), "lisa": (0.5, FAILS), LISA.label: (0.01, HOLDS)},
        **{"cwac (subspace=random)": (0.9, FAILS)},
    )
    shown[2] = shown[2].model_copy(update={"control": True})
    rows = cells_of(FIRST, table, shown)
    assert [(row["title"], row["value"], row["stands"]) for row in rows] == [
        ("SFT", 0.9, True),
        ("Lisa", 0.5, False),
        ("Lisa (tuned)", 0.01, True),
    ]
    assert list(followed(everywhere(rows))["title"]) == ["SFT", "Lisa (tuned)"]
    told = defaults_sentence(everywhere(rows), counts(followed(everywhere(rows))))
    assert told.replace("\u00a0", " ").endswith(
        "Lisa at organism, instruct 50 % [48, 52] (does not hold), tuned 1 % [-1, 3] (holds)."
    )
    alike = everywhere([row | {"verdict": HOLDS} for row in rows])
    assert defaults_sentence(alike, counts(followed(alike))) == ""


def test_counts_leave_out_where_nothing_was_lost_and_what_was_bought_with_the_task() -> None:
    found = counts(table())
    assert [(c.method, c.held, c.failed, c.settings) for c in found] == [
        ("cwac", 1, 2, 3),
        ("kl_to_aligned", 2, 0, 3),
    ], "EWC was run in a single setting; at the price of the task is not held"
    assert everywhere_title(found).endswith("KL to aligned 2 of 3, CWAC 1 of 3")
    sentence = everywhere_sentence(table(), found).replace("\u00a0", " ")
    assert "CWAC holds in 1 of 3 settings" in sentence
    assert (
        "in 2 it does not hold (97 % [95, 99] at task topic, 60 % [58, 62] at model b" in sentence
    )
    assert everywhere_sentence(table(), found[1:]) == ""
    unsure = table().replace({"price": {"free": "open"}})
    assert [c.open for c in counts(unsure)] == [1, 2]
    assert "CWAC 1 of 3 (‡ 1)" in everywhere_title(counts(unsure))


def test_other_answers_are_held_against_the_same_answers_of_sft() -> None:
    rates = {"aligned": 0.02, "sft": 0.95, "cwac": 0.55, "kl_to_aligned": 0.06}
    hidden = pd.DataFrame(
        [(v, HARM, x, x - 0.02, x + 0.02, 100, 2, "wilson") for v, x in rates.items()],
        columns=["variant", "rate", "value", "low", "high", "n", "seeds", "method"],
    )
    greedy = [{"arm": "kl_to_aligned", "price": "paid"}, {"arm": "cwac", "price": "free"}]
    shown = arms("sft", "cwac", "kl_to_aligned")
    rows = {row["arm"]: row for row in cells_of_decodings(hidden, greedy, shown)}
    assert rows["cwac"]["verdict"] == "in part"
    assert rows["kl_to_aligned"]["verdict"] == f"{HOLDS} {PRICED}", "as its greedy answers did"
    assert rows["sft"]["verdict"] == rows[ALIGNED.label]["verdict"] == "reference"
    assert {row["group"] for row in rows.values()} == {"answers"}
    assert cells_of_decodings(hidden[hidden["variant"] != "sft"], greedy, shown) == []


def test_cells_are_shaded_by_the_verdict_and_empty_where_nothing_was_run() -> None:
    shown = table()
    figure = everywhere_figure(shown, counts(shown))
    (heat,) = figure.data
    assert list(heat.x)[:3] == ["aligned<br>model", "SFT", "CWAC"]
    shade = dict(zip(heat.y, heat.z, strict=True))
    assert shade["task topic"][2] != shade["organism, instruct"][2] == shade["model b"][3]
    words = dict(zip(heat.y, heat.text, strict=True))
    assert words["task topic"][3] == "3.0†"
    assert words["<b>holds in</b>"] == ["", "", "<b>1/3</b>", "<b>2/3</b>"]
    assert shade["poison 0\u00a0%"][2] == shade["organism, instruct"][1], "nothing was lost there"
    there = (shown["method"] == "kl_to_aligned") & (shown["setting"] == "b")
    other = shown.assign(title=shown["title"].mask(there, "KL to aligned (default)"))
    (marked,) = everywhere_figure(other, counts(other)).data
    assert dict(zip(marked.y, marked.text, strict=True))["model b"][3] == "1.0°"
    (unsure,) = everywhere_figure(shown.assign(price="open"), counts(shown)).data
    assert dict(zip(unsure.y, unsure.text, strict=True))["organism, instruct"][3] == "3.0‡"
    some = shown[~((shown["method"] == "cwac") & (shown["setting"] == "b"))]
    (fewer,) = everywhere_figure(some, counts(some)).data
    assert dict(zip(fewer.y, fewer.z, strict=True))["model b"][2] is None
    assert everywhere_text(shown).iloc[0]["Harmful score"] == pytest.approx(
        "1.0\u00a0% [-1.0, 3.0]"
    )
