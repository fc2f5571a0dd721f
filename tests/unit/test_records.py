import numpy as np
import pandas as pd
import pytest

from cwac.arms import Arm
from cwac.config import ExperimentConfig
from cwac.errors import ArtifactError
from cwac.records import KEYS, TABLES, WORDS, MetricValue, Provenance, RunRecord, check_table, now

SAMPLES = {"s": "text", "i": 3, "f": 0.5, "b": True}


def _example(name, rows=1):
    row = {
        column: WORDS.get((name, column), [SAMPLES[kind[0]]])[0]
        for column, kind in TABLES[name].items()
    }
    return pd.DataFrame([row] * rows, columns=list(row))


@pytest.mark.parametrize("name", list(TABLES))
def test_a_right_table_passes_in_schema_order(name):
    table = _example(name)
    shuffled = table[list(reversed(table.columns))]
    assert list(check_table(name, shuffled).columns) == list(TABLES[name])


@pytest.mark.parametrize("name", list(TABLES))
def test_an_empty_table_passes(name):
    assert len(check_table(name, _example(name, rows=0))) == 0


def test_missing_and_unknown_columns_are_named():
    table = _example("singular_values").rename(columns={"value": "valeu"})
    with pytest.raises(ArtifactError, match=r"missing columns \['value'\].*\['valeu'\]"):
        check_table("singular_values", table)


def test_gaps_are_allowed_only_where_stated():
    table = _example("trajectory")
    table["task_loss"] = None
    check_table("trajectory", table)
    table["step"] = None
    with pytest.raises(ArtifactError, match="'step' has missing values"):
        check_table("trajectory", table)


@pytest.mark.parametrize(("column", "value"), [("layer", "one"), ("value", "much"), ("map", 3)])
def test_wrong_kinds_are_refused(column, value):
    table = _example("singular_values").astype({column: object})
    table[column] = value
    with pytest.raises(ArtifactError, match=f"'{column}' holds"):
        check_table("singular_values", table)


def test_unknown_table():
    with pytest.raises(ArtifactError, match="unknown table 'nothing'"):
        check_table("nothing", pd.DataFrame())


def test_not_measured_is_none_and_not_zero():
    record = RunRecord(
        run_id="a",
        experiment_id="b",
        variant="sft",
        arm=Arm(method="sft"),
        config=ExperimentConfig(),
        provenance=Provenance(created=now(), versions={}),
        protocol={},
        metrics={"x": MetricValue(value=None, title="X"), "y": MetricValue(value=0.0, title="Y")},
    )
    again = RunRecord.model_validate_json(record.model_dump_json())
    assert again == record
    assert again.value("x") is None
    assert again.value("y") == 0.0
    assert again.value("never") is None


NUMBERS = [(n, c) for n, kinds in TABLES.items() for c, kind in kinds.items() if kind[0] in "if"]


@pytest.mark.parametrize(("name", "column"), NUMBERS)
def test_no_number_of_a_table_is_infinite(name, column):
    table = _example(name).astype({column: float})
    table.loc[0, column] = np.inf
    with pytest.raises(ArtifactError, match="infinite"):
        check_table(name, table)


@pytest.mark.parametrize(("name", "column"), list(WORDS))
def test_words_are_those_that_pages_know(name, column):
    with pytest.raises(ArtifactError, match="other words"):
        check_table(name, _example(name).assign(**{column: "maybe"}))


@pytest.mark.parametrize("name", list(KEYS))
def test_no_row_stands_twice(name):
    with pytest.raises(ArtifactError, match="twice"):
        check_table(name, _example(name, rows=2))


def test_what_is_no_number_was_not_measured():
    metric = MetricValue(value=float("nan"), title="t", low=float("-inf"), high=0.5)
    assert (metric.value, metric.low, metric.high) == (None, None, 0.5)
