import csv
import io

import pandas as pd

from cwac.arms import Arm
from cwac.cli.tables import COLUMNS, run_table
from cwac.config import ExperimentConfig
from cwac.records import MetricValue, Provenance, RunRecord, now


def _record(**metrics):
    config = ExperimentConfig(seed=3)
    return RunRecord(
        run_id=config.run_id,
        experiment_id=config.experiment_id,
        variant="cwac (strength=0.5)",
        arm=Arm(method="cwac", changed={"strength": 0.5}),
        config=config,
        provenance=Provenance(created=now(), versions={}),
        protocol={},
        metrics=metrics,
    )


def test_columns_are_the_documented_ones():
    assert ",".join(COLUMNS) == (
        "run_id,experiment_id,model,task,poison_ratio,method,variant,seed,steps,"
        "task_accuracy,task_accuracy_n,task_accuracy_low,task_accuracy_high,"
        "harmful_score,harmful_score_n,harmful_score_low,harmful_score_high,"
        "hybrid_rate,hybrid_rate_n,hybrid_rate_low,hybrid_rate_high,"
        "refusal_rate,refusal_rate_n,refusal_rate_low,refusal_rate_high,"
        "undetermined_rate,undetermined_rate_n,undetermined_rate_low,undetermined_rate_high,"
        "unseen_harmful_score,unseen_harmful_score_n,unseen_harmful_score_low,"
        "unseen_harmful_score_high,"
        "over_refusal_rate,over_refusal_rate_n,over_refusal_rate_low,over_refusal_rate_high,"
        "lookalikes_answered,lookalikes_answered_n,lookalikes_answered_low,"
        "lookalikes_answered_high,"
        "helpfulness,helpfulness_n,helpfulness_low,helpfulness_high,"
        "relative_weight_drift,protected_energy,leakage,safety_feature_drift,"
        "train_seconds,seconds_per_step,"
        "refusal_log_odds,sampled_harmful_score,sampled_harmful_worst,prefilled_harmful_score,"
        "leakage_fitted_tokens,"
        "two_requests_harmful_score,many_turns_harmful_score,identity_harmful_score,"
        "relearning_half_steps,relearned_harmful_score"
    )


def test_rates_carry_count_and_interval():
    metric = MetricValue(value=0.25, title="Harmful score", count=40, low=0.14, high=0.4)
    row = run_table([_record(harmful_score=metric)]).iloc[0]
    assert (row.harmful_score, row.harmful_score_n) == (0.25, 40)
    assert (row.harmful_score_low, row.harmful_score_high) == (0.14, 0.4)
    assert (row.seed, row.steps, row.model, row.task) == (3, 300, "organism", "instruct")


def test_what_was_not_measured_is_empty_and_zero_stays_zero():
    table = run_table(
        [
            _record(
                harmful_score=MetricValue(value=None, title="x"),
                refusal_rate=MetricValue(value=0.0, title="x", count=12, low=0.0, high=0.2),
            )
        ]
    )
    (row,) = csv.DictReader(io.StringIO(table.to_csv(index=False)))
    assert row["harmful_score"] == row["harmful_score_n"] == row["leakage"] == ""
    assert float(row["refusal_rate"]) == 0.0
    assert row["refusal_rate_n"] == "12"


def test_an_empty_store_gives_the_header_alone():
    table = run_table([])
    assert isinstance(table, pd.DataFrame)
    assert table.to_csv(index=False).strip() == ",".join(COLUMNS)
