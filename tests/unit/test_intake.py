"""Reading what somebody else wrote."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cwac.artifacts import ArtifactStore, shipped_runs
from cwac.config import TrainingConfig
from cwac.errors import LONGEST, ConfigError, CwacError
from cwac.intake import DEEPEST, check_storable, depth, is_text, parse_json, read_bytes, read_toml


@pytest.mark.parametrize(
    "text",
    [b"[" * 100_000, b'{"a":' * 300, b'"\\ud800"', b"NaN", b"-Infinity", b"\xff", b"9" * 5000],
)
def test_what_is_no_plain_json_is_a_value_error(text):
    with pytest.raises(ValueError, match="column"):
        parse_json(text)


def test_a_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="a pipe or a device"):
        read_bytes(tmp_path / "pipe")
    with pytest.raises(OSError, match="directory"):
        read_bytes(tmp_path)
    (tmp_path / "large").write_bytes(b"12345")
    with pytest.raises(OSError, match="5 bytes, more than 4"):
        read_bytes(tmp_path / "large", 4)


def test_deep_toml_is_a_value_error(tmp_path):
    for text in ("x = " + "[" * 3000 + "]" * 3000, "[" + ".".join("a" * 200) + "]\n"):
        (tmp_path / "a.toml").write_text(text)
        with pytest.raises(ValueError, match="too deep"):
            read_toml(tmp_path / "a.toml")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)  # fmt: skip


@given(JSON)
def test_what_json_holds_is_storable_unless_its_text_is_none(value):
    def texts(part):
        if isinstance(part, dict):
            return [t for k, v in part.items() for t in (*texts(k), *texts(v))]
        if isinstance(part, list):
            return [t for v in part for t in texts(v)]
        return [part] if isinstance(part, str) else []

    if all(map(is_text, texts(value))):
        check_storable(value)
    else:
        with pytest.raises(ValueError, match="no text"):
            check_storable(value)


@pytest.mark.parametrize("bad", [float("nan"), float("-inf"), 2**63, -(2**63) - 1, "\udcff", "\0"])
def test_what_no_record_can_hold_is_named_with_its_place(bad):
    with pytest.raises(ValueError, match=r"^a\.b"):
        check_storable({"a": {"b": [1, bad]}})


def test_depth_stops_counting_at_the_limit():
    value: list = []
    for _ in range(5000):
        value = [value]
    assert depth(value) == DEEPEST + 1


@pytest.mark.parametrize("field", ["clip_norm", "weight_decay", "learning_rate"])
def test_no_setting_is_infinite(field):
    for value in (float("inf"), float("nan")):
        with pytest.raises(ConfigError):
            TrainingConfig.build({field: value})
        with pytest.raises(ValueError, match="finite"):
            TrainingConfig(**{field: value})


def test_a_message_is_short_whatever_it_quotes():
    assert len(str(CwacError("x" * 100_000))) < LONGEST + 50
    assert str(CwacError("\udcff")) == "\\udcff"


def test_every_shipped_run_keeps_its_id():
    runs = ArtifactStore(shipped_runs()).list_runs()
    assert len(runs) > 400
    for run in runs:
        assert run.record is not None, run.problem
        assert run.record.config.run_id == run.record.run_id == run.run_id
        assert run.record.config.experiment_id == run.record.experiment_id
