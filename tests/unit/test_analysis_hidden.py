"""What greedy answers hide, per arm: counted by hand, and missing where it was not measured."""

from types import SimpleNamespace as Fake

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from cwac.analysis.hidden import decoding_rows, margin_rows
from cwac.arms import ALIGNED, Arm
from cwac.figures.results.hidden import hidden_figure
from cwac.figures.start.outcomes import overview_table
from cwac.statistics import Outcomes, rate

ARMS = [ALIGNED, Arm(method="sft"), Arm(method="cwac")]
N, K = 40, 4


def samples(variant: str, share: float, seeds: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [
        (variant, seed, f"h{i}", "sampled", k, "compliance" if rng.random() < share else "refusal")
        for seed in range(seeds)
        for i in range(N)
        for k in range(K)
    ]
    columns = ["variant", "seed", "prompt_id", "way", "sample", "outcome"]
    return pd.DataFrame(rows, columns=columns)


def test_scores_of_samples_are_those_of_the_requests() -> None:
    table = pd.concat([samples("sft", 0.6, 1), samples("cwac", 0.2, 3)], ignore_index=True)
    rows = decoding_rows(table).set_index(["variant", "rate"])
    hits = (table["outcome"] == "compliance").to_numpy()
    sft, cwac = hits[: N * K].reshape(1, N, K), hits[N * K :].reshape(3, N, K)
    assert rows.loc[("sft", "sampled_harmful_score"), "value"] == pytest.approx(sft.mean())
    assert rows.loc[("cwac", "sampled_harmful_worst"), "value"] == pytest.approx(
        cwac.any(axis=2).mean()
    )
    # Requests in the order of their names: what the interval rests on is written out here.
    names = tuple(f"h{i}" for i in range(N))
    expected = rate(Outcomes(cwac.mean(axis=2), (0, 1, 2), names))
    row = rows.loc[("cwac", "sampled_harmful_score")]
    assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high))
    assert (row["n"], row["seeds"], row["method"]) == (N, 3, "bootstrap")
    assert not rows.index.isin([("cwac", "prefilled_harmful_score")]).any()


def margins(values: dict[str, list[float]]) -> pd.DataFrame:
    def record(arm: Arm, value: float | None) -> Fake:
        stored = None if value is None else Fake(value=value, count=N)
        return Fake(arm=arm, metrics={} if stored is None else {"refusal_log_odds": stored})

    runs = [record(arm, x) for arm in ARMS[1:] for x in values.get(arm.label, [])]
    return margin_rows(runs, record(ALIGNED, 4.5))


def test_margins_are_means_over_seeds() -> None:
    rows = margins({"sft": [-5.0, -5.5, -5.2], "cwac": [0.2]}).set_index("variant")
    low, high = stats.ttest_1samp([-5.0, -5.5, -5.2], 0).confidence_interval(0.95)
    assert (rows.loc["sft", "low"], rows.loc["sft", "high"]) == pytest.approx((low, high))
    assert pd.isna(rows.loc["cwac", "low"]), "one seed has no interval over seeds"
    assert rows.loc["aligned", "value"] == 4.5


def rates() -> pd.DataFrame:
    columns = ["variant", "rate", "value", "low", "high", "n", "seeds", "method"]
    rows = [(arm.label, "harmful_score", 0.1, 0.0, 0.2, N, 1, "wilson") for arm in ARMS]
    return pd.DataFrame(rows, columns=columns)


def test_the_table_of_rates_has_what_was_measured_and_no_more() -> None:
    hidden = pd.concat([margins({"sft": [-5.0, -5.5], "cwac": [0.2]}),
                        decoding_rows(samples("cwac", 0.2, 1))])  # fmt: skip
    table = overview_table(rates(), ARMS, hidden).set_index("Arm")
    assert table.loc["CWAC", "Refusal log-odds (nats)"] == "+0.20"
    assert table.loc["SFT", "Refusal log-odds (nats)"].startswith("-5.25 [")
    assert table.loc["SFT", "Harmful score, sampled"] == "not measured"
    assert table.loc["CWAC", "Harmful score, sampled"].endswith("]")
    assert "Harmful score, begun answer" not in table
    assert "Refusal log-odds (nats)" not in overview_table(rates(), ARMS)


def test_the_figure_has_a_trace_per_decoding_that_was_measured() -> None:
    hidden = pd.concat([margins({"sft": [5.0, 5.5], "cwac": [0.2]}),
                        decoding_rows(samples("cwac", 0.2, 1))])  # fmt: skip
    points = pd.DataFrame({"variant": ["sft", "cwac"], "harmful": [1.0, 0.02], "harmful_low": 0.0,
                           "harmful_high": 1.0, "harmful_n": N, "seeds": 1})  # fmt: skip
    figure = hidden_figure(hidden, points, ARMS)
    assert [trace.name for trace in figure.data] == [
        "refusal log-odds", "Harmful score, greedy", "Harmful score, sampled",
        "Harmful score, worst sample",
    ]  # fmt: skip
    assert list(figure.data[1].x) == [100.0, 2.0]
    title = figure.layout.title.text.replace("<br>", " ").replace("\u00a0", " ")
    assert title == (
        "CWAC has refusal log-odds of +0.20 nats (aligned model +4.50, SFT +5.25); its harmful "
        "score is 2 % greedy, 19 % sampled"
    )
