"""The Results page: curves, matched accuracy, poison, the 2 x 2 test, and what is missing."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import store_builder
from store_builder import ARMS, build_store, experiment_config
from streamlit.testing.v1 import AppTest

from cwac.analysis.operating import matched
from cwac.artifacts import ArtifactStore
from cwac.cli import main
from cwac.config import ExperimentConfig
from cwac.ui import asking
from cwac.ui.results import trade_off

OpenPage = Callable[..., AppTest]
KNOBS = {"sft": None, "weight_only": "tail_energy", "activation_only": "strength",
         "cwac": "strength", "lisa": "strength"}  # fmt: skip


@pytest.fixture(autouse=True)
def knobs(monkeypatch: pytest.MonkeyPatch) -> None:
    methods = [{"name": name, "strength_knob": knob} for name, knob in KNOBS.items()]
    found = {"models": [], "tasks": [], "methods": methods}
    monkeypatch.setattr(asking, "ask", lambda _, message, **__: message.model_validate(found))


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> ArtifactStore:
    arms = (*ARMS, ("cwac", {"strength": 4.0}), ("cwac", {"subspace": "random"}))
    return build_store(tmp_path_factory.mktemp("swept"), arms=arms)


def words(app: AppTest) -> str:
    kinds = ("markdown", "caption", "info", "warning", "text")
    said = "\n".join(str(part.value) for kind in kinds for part in getattr(app, kind))
    return said.replace("\\:", ":")


def charts(app: AppTest) -> list[str]:
    return [chart.key for chart in app.get("plotly_chart")]


def test_choices_of_a_method_have_their_view(swept: ArtifactStore, open_page: OpenPage) -> None:
    app = open_page("results/cost", swept.write_root)
    assert "choices" in charts(app)
    spec = app.get("plotly_chart")[charts(app).index("choices")].proto.spec
    assert "random" in spec
    assert "strength" not in spec, "the strengths are the curve above"


def test_whole_page(swept: ArtifactStore, open_page: OpenPage) -> None:
    app = open_page("results/cost", swept.write_root)
    assert not app.exception
    assert len(app.get("plotly_chart")) == 8
    assert "hidden" in charts(app)
    said = words(app)
    assert "interaction" in said
    assert "Sampled and begun answers were not measured in these runs" in said
    # The scale without ends comes first, the rates' logits after it.
    assert charts(app).index("coupling_margin") + 1 == charts(app).index("coupling")
    assert said.index("nats of refusal log-odds") < said.index("as a difference of rates")
    assert "harmful requests under 2 seeds that all four share" in said
    assert "n = 48 requests under 2 seeds" in said
    assert r"Methods without a run in this experiment: Lisa." in said
    assert r"Methods at one strength alone, no curve: Weight only, Activation only." in said
    app.slider(key="trade_off_target").set_value(10).run()
    assert not app.exception
    assert "Not comparable at" not in words(app), "every arm is more accurate than that"


def test_the_first_figures_come_first_once_the_methods_are_known(
    swept: ArtifactStore, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    for name in ("show_points", "show_poison"):
        drawn = getattr(trade_off, name)
        monkeypatch.setattr(
            trade_off, name, lambda *given, n=name, f=drawn: (order.append(n), f(*given))
        )
    app = open_page("results/cost", swept.write_root)
    assert order == ["show_poison", "show_points"], "not to wait for a child process"
    app.run()
    assert order[2:] == ["show_points", "show_poison"]
    assert not app.exception


def test_methods_below_the_accuracy_are_named(
    swept: ArtifactStore, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_comes(found: object, target: float) -> object:
        return matched(found, target + 1.0)

    monkeypatch.setattr(trade_off, "matched", none_comes)
    app = open_page("results/cost", swept.write_root)
    assert not app.exception
    assert "SFT (nearest: SFT at" in words(app)
    assert "matched" not in charts(app)


def test_variants_are_left_out_until_they_are_asked_for(
    swept: ArtifactStore, open_page: OpenPage
) -> None:
    app = open_page("results/cost", swept.write_root)
    toggle = app.toggle(key="trade_off_variants")
    assert "the 1 variants" in toggle.label
    assert not toggle.value
    before = app.get("plotly_chart")[0].proto.spec
    toggle.set_value(True).run()
    assert not app.exception
    after = app.get("plotly_chart")[0].proto.spec
    assert ("subspace=random" in before, "subspace=random" in after) == (False, True)


def test_only_arms_at_several_ratios_are_read_for_their_figure(
    tmp_path: Path, open_page: OpenPage
) -> None:
    build_store(tmp_path, arms=(("sft", {}), ("lisa", {})), experiments=(("instruct", 0.1),))
    build_store(tmp_path, arms=(("sft", {}),), experiments=(("instruct", 0.0),))
    app = open_page(
        "trade_off", tmp_path, experiment=experiment_config("instruct", 0.1).experiment_id
    )
    assert not app.exception
    spec = app.get("plotly_chart")[charts(app).index("poison")].proto.spec
    assert ("SFT" in spec, "Lisa" in spec) == (True, False)


def test_what_is_missing_is_said(tmp_path: Path, open_page: OpenPage) -> None:
    arms = (("sft", {}), ("cwac", {}))
    build_store(tmp_path, arms=arms, seeds=(0,), experiments=(("instruct", 0.1),))
    app = open_page("results/cost", tmp_path)
    assert not app.exception
    said = words(app)
    assert "Any arm at a second poison ratio" in said
    assert "Weight only, Activation only besides" in said
    assert "with one seed only: SFT, CWAC." in said
    assert "Any method with a setting other than its default was not measured" in said
    commands = [block.value for block in app.code]
    assert any("--set cwac.subspace=random" in command for command in commands)
    assert any('settings = {subspace = "random"}' in command for command in commands)
    assert "cwac sweep choices.toml" in said


def test_page_stands_without_the_methods_knobs(
    swept: ArtifactStore, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise asking.AskingError("'cwac list' failed: no torch")

    monkeypatch.setattr(asking, "ask", fails)
    app = open_page("results/cost", swept.write_root)
    assert not app.exception
    assert "no point is joined" in words(app)
    assert "strengths" not in charts(app), "no curve without a knob"
    assert "choices" in charts(app)


def test_each_defence_under_its_worst_attacker(
    tmp_path: Path,
    open_page: OpenPage,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made = experiment_config

    def longer(*given: object, **changes: object) -> ExperimentConfig:
        config = made(*given, **changes)  # type: ignore[arg-type]
        training = config.training.model_copy(update={"steps": 200})
        return config.model_copy(update={"training": training})

    one = {"arms": (("sft", {}), ("cwac", {})), "seeds": (0,), "experiments": (("instruct", 0.1),)}
    build_store(tmp_path, **one)  # type: ignore[arg-type]
    app = open_page("results/cost", tmp_path)
    assert "worst_case" not in charts(app), "nobody attacked otherwise"
    assert "worst attacker" not in "".join(part.value for part in app.subheader)
    monkeypatch.setattr(store_builder, "experiment_config", longer)
    build_store(tmp_path, **one)  # type: ignore[arg-type]
    app = open_page("results/cost", tmp_path)
    assert not app.exception
    with pytest.raises(SystemExit) as ending:
        main(["table", "--worst-case", "--json", "--root", str(tmp_path)])
    assert not ending.value.code
    rows = [r for r in json.loads(capsys.readouterr().out) if r["attackers"] == 2]
    assert {row["variant"] for row in rows} == {"sft", "cwac"}
    # The page draws what the table has, and nothing where no attack counts.
    assert ("worst_case" in charts(app)) == any(row["value"] is not None for row in rows)
