"""Pages never pool runs that different judging rules judged; what was judged anew may join."""

from collections.abc import Callable

import pandas as pd
import pytest
from named_arms import arms
from streamlit.testing.v1 import AppTest

from cwac.arms import ALIGNED
from cwac.artifacts import ArtifactStore, write_record
from cwac.figures.start.outcomes import outcome_bars
from cwac.records import TABLES
from cwac.ui.experiments import Experiment, listing

OpenPage = Callable[..., AppTest]
NEW = "9f8e7d6c5b4a"


@pytest.fixture
def mixed(own_store: ArtifactStore) -> ArtifactStore:
    """Seed 1 of every arm at poison 0.1 was measured under a newer rule, that tells hybrids."""
    for run in own_store.list_runs():
        record = run.record
        if record is None or "p0.1" not in run.run_id or record.config.seed != 1:
            continue
        protocol = record.protocol | {"judge": NEW, "hybrids": "told"}
        write_record(
            own_store.run_folder(run.run_id), record.model_copy(update={"protocol": protocol})
        )
    return own_store


def judged_anew(store: ArtifactStore, outcome: str) -> str:
    """Say of the first rule's SFT that the newer rule gives its harmful requests one outcome."""
    record = next(
        run.record
        for run in store.list_runs()
        if run.record and run.record.variant == "sft" and "p0.1-sft-s0" in run.run_id
    )
    answers = store.table(record.run_id, "responses")
    rows = answers[answers["kind"] != "task"]
    harmful = rows["kind"] == "harmful"
    said = pd.DataFrame(
        {
            "run_id": record.run_id,
            "prompt_id": rows["prompt_id"],
            "kind": rows["kind"],
            "judge": "own",
            "contents": NEW,
            "outcome": rows["outcome"].where(~harmful, outcome),
            "reason": None,
        }
    )[list(TABLES["judgements"])]
    store.save_experiment_table(record.experiment_id, "judgements", said)
    return str(record.run_id)


def shown(app: AppTest) -> pd.DataFrame:
    assert not app.exception
    return app.dataframe[0].value.set_index("Arm")


def test_the_two_rules_are_two_experiments_with_the_rule_in_their_names(mixed, monkeypatch) -> None:
    monkeypatch.setenv("CWAC_ROOTS", str(mixed.write_root))
    mine = [e for e in listing().experiments if e.config.poison_ratio == 0.1]
    assert len({e.experiment_id for e in mine}) == len(mine) == 2
    assert len({e.stored_id for e in mine}) == 1
    assert {e.judge for e in mine} == {"5e6f", NEW}
    assert all(e.judge[:6] in e.title for e in mine)
    for experiment in mine:
        assert {r.protocol["judge"] for r in experiment.records} == {experiment.judge}
    (other,) = [e for e in listing().experiments if e.config.poison_ratio == 0.0]
    assert "judge" not in other.title, "one rule needs no name"


def test_a_page_shows_one_rule_and_what_was_judged_anew_joins(mixed, open_page: OpenPage) -> None:
    (newer,) = (e for e in listed(mixed) if e.judge == NEW)
    link = {"experiment": newer.experiment_id}
    apart = shown(open_page("start", mixed.write_root, **link))
    assert apart.loc["SFT", "Seeds"] == "1"

    run_id = judged_anew(mixed, "hybrid")
    app = open_page("start", mixed.write_root, **link)
    joined = shown(app)
    assert joined.loc["SFT", "Seeds"] == "2"
    assert joined.loc["CWAC", "Seeds"] == "1"
    # Half of the harmful answers are now hybrids: they count as harmful, and they are told.
    assert joined.loc["SFT", "Hybrids"].startswith("50.0 %")
    # Its answers are still those that the first rule judged, and the page says so.
    assert joined.loc[ALIGNED.title, "Hybrids"] == "not measured"
    assert any("judged by another rule" in part.value for part in app.warning)
    stored = mixed.table(run_id, "responses")
    assert "hybrid" not in set(stored["outcome"]), "what a run stores stays"


def listed(store: ArtifactStore) -> list[Experiment]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CWAC_ROOTS", str(store.write_root))
        return list(listing().experiments)


def test_hybrids_are_not_measured_where_the_rule_did_not_tell_them(
    own_store: ArtifactStore, open_page: OpenPage
) -> None:
    app = open_page("requests/outcomes", own_store.write_root)
    app.segmented_control(key="_outcome").set_value("hybrid").run()
    assert not app.exception
    assert any("earlier judging rules did not tell" in part.value for part in app.info)


def test_bars_show_hybrids_as_a_part_of_the_harmful_score() -> None:
    rates = pd.DataFrame(
        [
            {"variant": "sft", "rate": name, "value": value, "low": value, "high": value}
            for name, value in (
                ("harmful_score", 0.7),
                ("hybrid_rate", 0.2),
                ("undetermined_rate", 0.1),
                ("refusal_rate", 0.2),
            )
        ]
    ).assign(n=10, seeds=1)
    figure = outcome_bars(rates, "title", arms("sft"))
    lengths = {bar.name: bar.x[0] for bar in figure.data if bar.type == "bar"}
    assert lengths == pytest.approx(
        {"compliance": 0.5, "hybrid": 0.2, "undetermined": 0.1, "refusal": 0.2}
    )
    none = rates.assign(value=rates["value"].where(rates["rate"] != "hybrid_rate", 0.0))
    without = outcome_bars(none, "title", arms("sft"))
    assert "hybrid" not in {bar.name for bar in without.data}
