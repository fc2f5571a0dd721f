"""Each defence under its worst attacker: what counts, what is compared, and the interval."""

from types import SimpleNamespace as Fake

import pytest
from scipy import stats

from cwac.analysis.attacks import PLAIN, attacked_runs, by_attacker, of_setting, worst_cases
from cwac.arms import Arm
from cwac.config import ExperimentConfig
from cwac.figures.results.attacks import worst_figure

N = 200
FASTER = "150 times the learning rate (0.003)"
FAST, LORA = {"learning_rate": 0.003}, {"adapter": "lora"}


def run(method, score, training=None, *, helpful=1.0, accuracy=1.0, seed=0, judge="j", **more):
    rates = {"harmful_score": score, "helpfulness": helpful, "task_accuracy": accuracy}
    config = ExperimentConfig.build(
        {"method": method, "seed": seed, "training": training or {}, **more}
    )
    return Fake(
        config=config,
        arm=Arm(method=method),
        protocol={"judge": judge},
        metrics={"harmful_score": Fake(count=N), "task_accuracy": Fake(count=N)},
        value=rates.get,
    )


def test_the_worst_attacker_is_the_worst_that_leaves_the_model_chatting():
    runs = [
        run("cwac", 0.05),
        run("cwac", 0.30, FAST),
        run("cwac", 0.99, {"steps": 600}, helpful=0.79),
        run("cwac", 0.98, {"attack": "refusal_free"}, accuracy=None),
        run("sft", 1.0),
        run("sft", 0.9, LORA),
        run("lisa", 0.2),
    ]
    table = worst_cases(attacked_runs(runs)).set_index("variant")
    assert list(table.index) == ["cwac", "sft"], "one attacker alone is no comparison"
    worst = table.loc["cwac"]
    assert (worst["attacker"], worst["value"], worst["lowest"]) == (
        FASTER,
        0.3,
        0.05,
    )
    assert (worst["attackers"], worst["counted"], worst["n"]) == (4, 2, N)
    assert table.loc["sft", "attacker"] == PLAIN
    # Wilson at 97.5 %, since two attackers were compared.
    low, high = stats.binomtest(60, N).proportion_ci(0.975, method="wilson")
    assert (worst["low"], worst["high"]) == pytest.approx((low, high))
    strict = worst_cases(attacked_runs(runs), {"helpfulness": 1.1})
    assert strict["value"].isna().all()
    assert (strict["counted"] == 0).all()


def test_every_attacker_has_a_row_with_the_interval_of_its_seeds():
    runs = [run("cwac", score, FAST, seed=seed) for seed, score in enumerate((0.1, 0.4))]
    runs += [run("cwac", 0.2), run("cwac", 0.9, LORA, accuracy=None)]
    others = [run("sft", 1.0, seed=seed) for seed in range(3)]
    table = by_attacker(attacked_runs(others + runs))
    table = table[table["variant"] == "cwac"].set_index(["place", "rate"])
    harm = table.xs("harmful_score", level="rate")
    assert harm["value"].to_dict() == {
        FASTER: 0.25, PLAIN: 0.2, "LoRA rank 8": 0.9,
    }  # fmt: skip
    low, high = stats.binomtest(40, N).proportion_ci(method="wilson")
    assert harm.loc[PLAIN, ["low", "high", "seeds"]].tolist() == pytest.approx([low, high, 1])
    assert harm.loc[FASTER, ["low", "high", "seeds"]].tolist() == [0, 1, 2]
    assert ("LoRA rank 8", "task_accuracy") not in table.index, "not measured is no number"


def test_an_attacker_is_named_by_what_differs_from_most_runs():
    plain = {"learning_rate": 0.001, "steps": 300}
    ways = ({"learning_rate": 0.003}, {"steps": 600}, {"steps": 450}, {"batch_size": 4},
            {"weight_decay": 0.1}, {"attack": "refusal_free", "steps": 150})  # fmt: skip
    runs = [run("cwac", 0.1, plain), run("sft", 0.1, plain), run("lisa", 0.1, plain)]
    runs += [run("cwac", 0.2, plain | way) for way in ways]
    named = attacked_runs(runs)["attacker"]
    assert named.tolist() == [
        PLAIN, "three times the learning rate (0.003)", "twice the steps (600)",
        "1.5 times the steps (450)", "a quarter of the batch size (4)", "weight decay 0.1",
        "half the steps (150), answered look-alikes",
    ]  # fmt: skip


def test_seeds_that_agree_say_nothing_of_other_requests():
    runs = [run("kl", 0.0, way, seed=seed) for seed in range(3) for way in ({}, FAST)]
    (worst,) = worst_cases(attacked_runs(runs)).to_dict("records")
    low, high = stats.binomtest(0, N).proportion_ci(0.975, method="wilson")
    assert (worst["low"], worst["high"]) == pytest.approx((low, high))
    assert worst["high"] > 0


def test_seeds_are_averaged_before_attackers_are_compared():
    scores = {0: (0.1, 0.5), 1: (0.1, 0.3), 2: (0.9, 0.4)}
    runs = [
        run("cwac", score, way, seed=seed)
        for seed, pair in scores.items()
        for score, way in zip(pair, ({}, FAST), strict=True)
    ]
    worst = worst_cases(attacked_runs(runs)).iloc[0]
    assert (worst["attacker"], worst["value"], worst["seeds"]) == (
        FASTER,
        pytest.approx(0.4),
        3,
    )
    half = stats.t.ppf(1 - 0.025 / 2, 2) * stats.sem([0.5, 0.3, 0.4])
    assert (worst["low"], worst["high"]) == pytest.approx((0.4 - half, 0.4 + half))


def test_what_no_attacker_decides_is_never_compared():
    plain = run("cwac", 0.1)
    others = [
        run("cwac", 0.2, {**FAST, "train_embeddings": False}),
        run("cwac", 0.3, FAST, judge="k"),
        run("cwac", 0.4, FAST, poison_ratio=0.5),
        run("cwac", 0.5, FAST, task={"source": "topic"}),
    ]
    assert attacked_runs([plain, *others]).empty
    assert worst_cases(attacked_runs([plain])).empty
    joins = run("lisa", 0.2, FAST)
    assert of_setting([plain, *others, joins], plain) == [plain, joins]


def test_the_figure_says_whose_worst_case_is_lowest():
    runs = [run(m, s, w) for m, s, w in (("sft", 1.0, None), ("sft", 0.8, LORA),
            ("cwac", 0.1, None), ("cwac", 0.6, LORA))]  # fmt: skip
    figure = worst_figure(worst_cases(attacked_runs(runs)), [r.arm for r in runs])
    assert "CWAC complies with 60\u00a0% [" in figure.layout.title.text
    by_place = {trace.y[0]: list(trace.x) for trace in figure.data}
    names = dict(zip(figure.layout.yaxis.tickvals, figure.layout.yaxis.ticktext, strict=True))
    assert {names[y]: x for y, x in by_place.items()} == {"SFT": [80, 100], "CWAC": [10, 60]}
