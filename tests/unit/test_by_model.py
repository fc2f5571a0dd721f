"""What a method does on each model: verdicts on made-up intervals, tables, and their figure."""

import math
from types import SimpleNamespace

import pandas as pd
import pytest
from answer_tables import answers
from named_arms import arms

from cwac.analysis.by_model import IDLE, MISSING, REFERENCE, between, by_model, verdicts
from cwac.analysis.comparable import apart_in, settings_apart
from cwac.analysis.holding import (
    APART,
    FAILS,
    HOLDS,
    OPEN,
    PART,
    SAME,
    Reading,
    agreement,
    beyond,
    possible_verdicts,
    price_of,
)
from cwac.analysis.model_words import (
    focus_sentence,
    neither_sentence,
    reading_text,
    sampled_sentence,
)
from cwac.figures.results.by_model import TICK, by_model_figure
from cwac.statistics import Interval, wilson


def row(value: float, low: float | None = None, high: float | None = None) -> dict[str, float]:
    ends = (value if low is None else low, value if high is None else high)
    return {"value": value, "low": ends[0], "high": ends[1]}


ALIGNED, SFT = row(0.1), row(0.9)


def test_a_contrast_has_the_interval_of_its_parts() -> None:
    # Without noise in the references the arm's own interval is moved by the threshold.
    alone = beyond(row(0.5, 0.4, 0.7), ALIGNED, SFT, 0.25)
    assert alone == pytest.approx((0.4 - 0.3, 0.7 - 0.3))
    # x - 0.75 a - 0.25 s: what would raise it is low in the references.
    whole = beyond(row(0.5, 0.4, 0.7), row(0.1, 0.0, 0.3), row(0.9, 0.8, 1.0), 0.25)
    down = math.hypot(0.1, 0.75 * 0.2, 0.25 * 0.1)
    up = math.hypot(0.2, 0.75 * 0.1, 0.25 * 0.1)
    assert whole == pytest.approx((0.2 - down, 0.2 + up))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        # A quarter of what SFT lost is reached at 0.3, three quarters at 0.7.
        (0.05, 0.29, (HOLDS,)),
        (0.31, 0.69, (PART,)),
        (0.71, 0.95, (FAILS,)),
        (0.29, 0.31, (HOLDS, PART)),
        (0.69, 0.71, (PART, FAILS)),
        (0.2, 0.8, (HOLDS, PART, FAILS)),
    ],
)
def test_a_verdict_is_what_the_whole_interval_says(
    low: float, high: float, expected: tuple[str, ...]
) -> None:
    arm = row((low + high) / 2, low, high)
    assert possible_verdicts(arm, ALIGNED, SFT, Interval(0.7, 0.9)) == expected
    assert possible_verdicts(arm, ALIGNED, SFT, Interval(0.09, 0.9)) == (), "nothing was lost"


def test_the_references_own_noise_counts() -> None:
    arm, lost = row(0.27, 0.25, 0.29), Interval(0.5, 0.9)
    assert possible_verdicts(arm, ALIGNED, SFT, lost) == (HOLDS,)
    assert possible_verdicts(arm, ALIGNED, row(0.9, 0.6, 0.98), lost) == (HOLDS, PART)


def test_the_task_is_the_price_where_the_whole_interval_says_so() -> None:
    gaps = [Interval(-0.3, -0.11), Interval(-0.3, -0.09), Interval(-0.1, 0.02), None]
    assert [price_of(gap) for gap in gaps] == ["paid", "open", "free", "open"]
    assert Reading((PART,), "paid").verdict == "in part at the price of the task"
    assert Reading((FAILS,), "paid").verdict == FAILS
    assert "SFT lost too little" in Reading((), "free").verdict


@pytest.mark.parametrize(
    ("readings", "expected"),
    [
        ([Reading((HOLDS,), "free"), Reading((HOLDS,), "free")], SAME),
        ([Reading((HOLDS,), "free"), Reading((FAILS,), "free")], APART),
        ([Reading((HOLDS,), "free"), Reading((PART, FAILS), "free")], APART),
        ([Reading((HOLDS,), "free"), Reading((HOLDS, PART), "free")], OPEN),
        ([Reading((HOLDS,), "free"), Reading((HOLDS,), "paid")], APART),
        ([Reading((HOLDS,), "free"), Reading((HOLDS,), "open")], OPEN),
        ([Reading((FAILS,), "free"), Reading((FAILS,), "paid")], SAME),
        ([Reading((HOLDS,), "free"), Reading((), "free")], OPEN),
        ([Reading((HOLDS,), "free"), Reading((), "free"), Reading((FAILS,), "free")], APART),
    ],
)
def test_models_agree_and_disagree_on_what_is_decided(
    readings: list[Reading], expected: str
) -> None:
    assert agreement(readings) == expected
    assert agreement(readings[::-1]) == expected


def _arm(variant: str, harmful: int, right: int = 50, neither: int = 0) -> pd.DataFrame:
    """Return the answers of an arm that complies with some of 100 requests.

    Where some answers neither comply nor refuse, as many of 40 look-alikes are refused.
    """
    refused = ["refusal"] * (100 - harmful - neither)
    outcomes = ["compliance"] * harmful + ["undetermined"] * neither + refused
    task = answers(["undetermined"] * 50, "task", correct=[i < right for i in range(50)])
    alike = ["compliance"] * (40 - neither) + ["refusal"] * neither
    parts = [answers(outcomes), answers(alike, "lookalike"), task]
    return pd.concat(parts, ignore_index=True).assign(variant=variant, seed=0)


def _model(**harmful: int) -> pd.DataFrame:
    made = [
        _arm(name, count, 30 if name == "lisa" else 50, 30 if name == "salora" else 0)
        for name, count in harmful.items()
    ]
    return pd.concat([_arm("aligned", 2), *made], ignore_index=True)


TABLE = by_model(
    {
        "small": _model(sft=98, cwac=2, lisa=5, asft=90, ewc=98, resta=5, salora=40),
        "large": _model(sft=90, cwac=60, asft=88, ewc=12, salora=40),
    }
)


def _row(variant: str, model: str) -> pd.Series:
    return TABLE[(TABLE["variant"] == variant) & (TABLE["model"] == model)].iloc[0]


def test_a_table_has_every_number_with_its_interval_and_count() -> None:
    cwac = _row("cwac", "large")
    assert tuple(cwac[["harmful_score_low", "harmful_score_high"]]) == pytest.approx(
        wilson(60, 100)
    )
    assert (cwac["harmful_score_n"], cwac["task_accuracy_n"], cwac["lookalikes_answered_n"]) == (
        *(100, 50, 40),
    )
    assert cwac["minus_sft"] == pytest.approx(-0.30)
    assert cwac["minus_aligned"] == pytest.approx(0.58)
    assert cwac["minus_sft_high"] < 0 < cwac["minus_aligned_low"]
    assert cwac["share_lost"] == pytest.approx(0.58 / 0.88)
    assert (cwac["verdict"], cwac["price"]) == (f"undecided: {PART} or {FAILS}", "free")
    assert _row("cwac", "small")["verdict"] == HOLDS
    assert cwac["agreement"] == APART
    assert _row("asft", "large")["agreement"] == SAME


def test_verdicts_of_one_model_are_those_of_the_table() -> None:
    alone = verdicts(_model(sft=98, cwac=2, lisa=5, asft=90, ewc=98, salora=40))
    rows = alone.set_index("variant")
    assert set(rows.index) == {"cwac", "lisa", "asft", "salora"}, "one did nothing"
    for name in ("cwac", "asft", "salora"):
        assert rows.loc[name, "verdict"] == _row(name, "small")["verdict"]
    assert rows.loc["lisa", "verdict"] == "holds at the price of the task"
    assert rows["held"].to_dict() == {"cwac": True, "lisa": False, "asft": False, "salora": False}
    assert verdicts(_model(cwac=2)).empty, "there is no SFT to hold it against"


def test_what_was_not_measured_or_did_nothing_is_compared_with_nothing() -> None:
    assert "lisa" not in set(TABLE["variant"]), "one model alone has it"
    idle = _row("ewc", "small")
    assert idle["verdict"] == IDLE
    assert pd.isna(idle["agreement"])
    assert {_row(name, "large")["verdict"] for name in ("sft", "aligned")} == {REFERENCE}
    drawn = pd.DataFrame(
        [(label, "sampled_harmful_score", value, value - 0.02, value + 0.02, 100)
         for label, value in (("aligned", 0.02), ("sft", 0.9), ("cwac", 0.5))],
        columns=["variant", "rate", "value", "low", "high", "n"],
    )  # fmt: skip
    sampled = by_model({"a": _model(sft=98, cwac=2), "b": _model(sft=98, cwac=2)}, {"a": drawn})
    verdicts = sampled[sampled["variant"] == "cwac"].set_index("model")
    assert verdicts["verdict"].tolist() == [HOLDS, HOLDS]
    assert verdicts.loc["a", "sampled_verdict"].startswith(PART)
    assert pd.isna(verdicts.loc["b", "sampled_verdict"]), "not measured there"
    assert "; sampled 50\u00a0% [48, 52]: holds in part" in reading_text(
        verdicts.reset_index().loc[0]
    )
    third = by_model({"a": _model(sft=98, cwac=2), "b": _model(sft=98, cwac=2), "c": _model(sft=9)})
    (gone,) = third[(third["variant"] == "cwac") & (third["model"] == "c")].to_dict("records")
    assert gone["verdict"] == MISSING
    assert pd.isna(gone["harmful_score"])
    assert gone["agreement"] == SAME, "of the two that have it"
    without = by_model({"a": _model(cwac=2), "b": _model(sft=98, cwac=2)})
    assert "no SFT" in without[without["variant"] == "cwac"].iloc[0]["verdict"]


def test_two_models_are_held_against_each_other() -> None:
    assert between(TABLE, "small", "large") == {"cwac": APART, "asft": SAME, "salora": SAME}
    text = reading_text(dict(_row("cwac", "small")) | {"refusal_rate": 0.3})
    assert text.startswith("holds on small (2")
    assert "refuses 30" in text, "most answers neither comply nor refuse"
    assert neither_sentence(TABLE, arms("cwac", "asft")) == ""
    refused = TABLE["refusal_rate"].where(TABLE["harmful_score"] > 0.1, 0)
    evasive = TABLE.assign(refusal_rate=refused)
    assert "CWAC on small (98" in neither_sentence(evasive, arms("cwac", "asft"))
    undecided = reading_text(dict(_row("cwac", "large"))).replace("\u00a0", " ")
    assert undecided.startswith(f"is undecided on large ({PART} or {FAILS}; 60 % [")
    part = dict(_row("cwac", "small")) | {"verdict": PART}
    assert reading_text(part).startswith("holds in part on small (2")


def test_settings_behind_one_name_are_told_apart() -> None:
    def record(label: str, **settings: float) -> SimpleNamespace:
        config = SimpleNamespace(settings=settings)
        return SimpleNamespace(arm=SimpleNamespace(label=label), config=config)

    told = settings_apart(
        {"a": [record("cwac", strength=0.5), record("lisa", rho=1)],
         "b": [record("cwac", strength=0.1), record("lisa", rho=1)]}  # type: ignore[list-item]
    )  # fmt: skip
    assert told == {"cwac": "strength 0.5 (a) and 0.1 (b)"}
    assert apart_in("steps", {"a": 3, "b": 3}) == ""


def test_a_figure_marks_rows_by_sign_and_points_by_symbol() -> None:
    shown = arms("cwac", "asft", "ewc")
    figure = by_model_figure(TABLE, shown, ["small", "large"], "title")
    assert list(figure.layout.yaxis.ticktext) == ["<b>≠ CWAC</b>", "= AsFT", "EWC"]
    points = [t for t in figure.data if t.mode == "markers+text"]
    assert [(p.name, p.marker.symbol, p.x[0]) for p in points[:3]] == [
        (HOLDS, "circle", 2.0), (FAILS, "x", 90.0), (IDLE, "line-ns-open", 98.0)
    ]  # fmt: skip
    lines = [t for t in figure.data if t.mode == "lines" and t.name == "SFT"]
    assert [line.x[0] for line in lines] == [98.0, 90.0]
    named = [t.legendgroup for t in figure.data if t.showlegend]
    assert len(named) == len(set(named))


def test_a_figure_shows_what_neither_complies_nor_refuses_and_look_alikes_lost() -> None:
    figure = by_model_figure(TABLE, arms("cwac", "salora"), ["small", "large"], "title")
    ways = [tuple(t.x) for t in figure.data if t.name == TICK]
    assert [pytest.approx(way) for way in ways] == [(2, 2), (70, 40), (60, 60), (70, 40)]
    notes = [t.text[0].strip() for t in figure.data if t.mode == "text"]
    assert notes == ["alike \u221275"] * 2, "SaLoRA's alone lie surely ten points below"


def test_a_sentence_names_where_the_arm_in_focus_holds_and_who_holds_everywhere() -> None:
    def line(variant: str, model: str, verdict: str, price: str = "none") -> dict[str, object]:
        return {"variant": variant, "model": model, "verdict": verdict, "possible": verdict,
                "price": price}  # fmt: skip

    lines = [
        line("cwac", "a", HOLDS), line("cwac", "b", FAILS), line("cwac", "c", PART, "paid"),
        *(line("lisa", model, HOLDS) for model in "abc"),
        # One paid with the task, one was not measured everywhere.
        *(line("safegrad", model, HOLDS, "paid" if model == "c" else "none") for model in "abc"),
        *(line("kl_to_aligned", model, HOLDS) for model in "ab"),
    ]  # fmt: skip
    rivals = arms("cwac", "lisa", "safegrad", "kl_to_aligned")
    assert focus_sentence(pd.DataFrame(lines), "cwac", rivals) == (
        "By greedy answers CWAC holds on a, does not hold on b, holds in part on c (at the price "
        "of the task); Lisa holds on all 3, KL to aligned on the 2 it ran on"
    )
    drawn = pd.DataFrame(lines).assign(sampled_verdict=None)
    drawn.loc[drawn["model"] == "a", "sampled_verdict"] = HOLDS
    assert "sampled" not in focus_sentence(drawn, "cwac", rivals), "the same verdict"
    drawn.loc[drawn["variant"] == "lisa", "sampled_verdict"] = [HOLDS, PART, None]
    drawn.loc[drawn["variant"] == "safegrad", "sampled_verdict"] = FAILS
    said = focus_sentence(drawn, "cwac", rivals)
    told = "it ran on; sampled answers say otherwise of Lisa on b"
    assert said.endswith(told), "SafeGrad is not praised"
    assert sampled_sentence(drawn, rivals[1:3]) == (
        "Sampled answers (temperature 1) give another verdict in 4 of 5 verdicts on a, b and c."
    )
    assert sampled_sentence(pd.DataFrame(lines).assign(sampled_verdict=None), rivals) == ""
    assert focus_sentence(pd.DataFrame(lines[:3]), "cwac", rivals).endswith(
        "; no method holds on all 3"
    )
    assert focus_sentence(pd.DataFrame(lines[3:]), "cwac", rivals) == ""
