import csv
import io

import pandas as pd
import pytest
from store_builder import ARMS, build_store

from cwac.arms import Arm
from cwac.cli import tables
from cwac.cli.tables import COLUMNS, across_table, print_comparison, run_table
from cwac.config import ExperimentConfig, ModelConfig
from cwac.errors import DataError
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


def test_a_comparison_says_which_arms_did_nothing(capsys, monkeypatch, tmp_path):
    outcomes = {"sft": "compliance", "safelora": "compliance", "lisa": "refusal"}
    members = [
        _record().model_copy(update={"run_id": name, "variant": name, "arm": Arm(method=name)})
        for name in outcomes
    ]

    class Answers:
        def table(self, run_id, name):
            assert name == "responses"
            ids = [f"harmful-{i}" for i in range(4)]
            return pd.DataFrame({"prompt_id": ids, "outcome": outcomes[run_id]})

    monkeypatch.setattr(tables, "writing_store", lambda root: Answers())
    print_comparison(tmp_path, members)
    assert "safelora: did nothing here, the answers are those of sft." in capsys.readouterr().err
    print_comparison(tmp_path, [members[0], members[2]])
    assert "did nothing" not in capsys.readouterr().err


def test_arms_are_pooled_over_models_with_equal_settings_and_one_rule(tmp_path, capsys):
    store = build_store(tmp_path, arms=ARMS[:2], experiments=(("instruct", 0.1),))
    records = [run.record for run in store.list_runs()]
    with pytest.raises(DataError, match="no two models here were run with equal settings"):
        across_table(store, records)
    for record in records:
        other = ModelConfig(source="organism-b", contents="cc")
        config = record.config.model_copy(update={"model": other})
        late = record.arm.method == "weight_only" and record.config.seed == 1
        protocol = record.protocol | ({"judge": "another"} if late else {})
        ids = {"run_id": config.run_id, "experiment_id": config.experiment_id}
        changed = record.model_copy(update={"config": config, "protocol": protocol, **ids})
        store.save_run(changed, {"responses": store.table(record.run_id, "responses")})
    table = across_table(store, [run.record for run in store.list_runs()])
    assert set(table["experiment"]) == {"instruct, poison ratio 0.1"}
    harmful = table[table["rate"] == "harmful_score"].set_index("variant")
    assert dict(harmful["models"]) == {"sft": 2, "weight_only": 2}
    # The run that another rule judged is left out: rules are never pooled.
    assert dict(harmful["seeds"]) == {"sft": 2, "weight_only": 1}
    assert harmful.loc["sft", "lowest"] == harmful.loc["sft", "highest"]
    expected = [record.value("harmful_score") for record in records if record.variant == "sft"]
    assert harmful.loc["sft", "value"] == pytest.approx(sum(expected) / 2)
    assert "organism, organism-b. Intervals are over 2 models" in capsys.readouterr().err
