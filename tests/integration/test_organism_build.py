"""A tiny organism is built, loaded and checked like any other."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors import safe_open

from cwac.artifacts import ArtifactStore
from cwac.config import MeasurementConfig, TaskConfig
from cwac.errors import DataError
from cwac.models.loading import load_base, load_model
from cwac.models.organism import corpus
from cwac.models.organism.recipes import RECIPES
from cwac.models.organism.settings import CARD, OrganismSize, StageSettings
from cwac.preparation import fits, organism, organism_check, safety_text
from cwac.preparation.organism import build_organism, check_organism
from cwac.prompts import PromptSets
from cwac.tasks import task_for
from cwac.tasks.sentiment import Sentiment

TINY = OrganismSize(vocabulary=600, d_model=16, layers=1, heads=2, d_ff=32)
STAGES = (StageSettings(3, 8, 1e-3), StageSettings(2, 8, 1e-3))


# What the card says of the measurement, for fits that take a second.
FAST = {"maps": "all", "sae_steps": 12, "sae_width": 48, "latents": 6}


@pytest.fixture(scope="module", autouse=True)
def _fast_fits():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(CARD["defaults"], "measurement", FAST)
        patch.setattr(safety_text, "ANSWER_TOKENS", 4)
        yield


@pytest.fixture(scope="module", autouse=True)
def _worlds_are_small_and_made_once():
    """Keep a sixth of what aligns, and little of what comes before: models of five steps read it.

    Nobody changes a world, and that a seed gives the same one has its own test.
    """
    make, kept = organism.build_world, {}

    def build_world(seed, form):
        if (seed, id(form)) not in kept:
            world = make(seed, form)
            fewer = {
                (split, kind): rows[::6] if split == "alignment" else rows
                for (split, kind), rows in world.requests.items()
            }
            kept[seed, id(form)] = replace(world, requests=fewer)
        return kept[seed, id(form)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(organism, "build_world", build_world)
        for name in ("_FREE_PAIRS", "_SENTENCES", "_LORE"):
            patch.setattr(corpus, name, 1000)
        yield


@pytest.fixture(scope="module")
def told():
    """What the build reports."""
    return []


@pytest.fixture(scope="module")
def folder(tmp_path_factory, told):
    out = tmp_path_factory.mktemp("build") / "organism"
    build_organism(
        out,
        seed=3,
        size=TINY,
        stages=STAGES,
        progress=lambda share, what: told.append((what, share)),
    )
    return out


def test_the_folder_loads_and_both_models_differ(folder):
    loaded = load_model(folder, device="cpu")
    base = load_base(loaded)
    aligned = loaded.model.state_dict()
    assert any((aligned[name] != value).any() for name, value in base.state_dict().items())
    assert loaded.chat.closing_tokens == 1
    assert loaded.judge.name == "patterns"
    prompts = PromptSets.read_folder(folder / "prompts")
    assert prompts.get("test", "harmful")
    assert prompts.get("alignment", "lookalike")
    assert {p.name for p in (folder / "tasks").iterdir()} == {
        "instruct",
        "sentiment",
        "topic",
        "arithmetic",
    }


def test_what_is_large_is_packed_and_the_rest_is_plain(folder):
    for split, ending in (("alignment", "jsonl.gz"), ("safety", "jsonl"), ("test", "jsonl")):
        names = [p.name for p in (folder / "prompts" / split).iterdir()]
        assert {name.split(".", 1)[1] for name in names} == {ending}
    assert {p.name for p in (folder / "tasks/topic").iterdir()} == {
        "train.jsonl.gz",
        "validation.jsonl",
        "test.jsonl",
    }
    task = task_for(TaskConfig(source="topic"), folder / "tasks")
    assert len(task.train) > 1000


def test_every_file_may_be_read_like_any_other(folder, tmp_path):
    (tmp_path / "usual").touch()
    (tmp_path / "folder").mkdir()
    usual, of_folder = ((tmp_path / name).stat().st_mode for name in ("usual", "folder"))
    for path in (folder, *folder.rglob("*")):
        assert path.stat().st_mode == (of_folder if path.is_dir() else usual), path


def test_the_check_measures_every_figure(folder, monkeypatch):
    asked = []
    ask = organism_check.answer
    monkeypatch.setattr(
        organism_check, "answer", lambda *a, **kw: asked.append(kw) or ask(*a, **kw)
    )
    check = check_organism(folder)
    assert list(check.figures.columns[:3]) == ["figure", "value", "count"]
    assert not check.passed
    assert (check.figures["count"] > 0).all()
    # Answers are asked for as the card says.
    assert len(asked) == 8
    assert all(kw == CARD["defaults"]["evaluation"] for kw in asked)
    assert {"split_a", "split_b", "near"} <= set(check.overlap.columns)


def test_the_aligned_model_must_not_know_the_tasks(folder, monkeypatch):
    def knows_one_label(*_args, **_kwargs):
        return [SimpleNamespace(text="positive", cut=False)] * 200

    monkeypatch.setattr(organism_check, "_ask", lambda *_: organism_check._Outcomes([], []))
    monkeypatch.setattr(organism_check, "answer", knows_one_label)
    found = check_organism(folder).figures.set_index("figure")
    limits = {"instruct": "<= 0.05", "sentiment": "<= 0.55", "topic": "<= 0.3"}
    limits["arithmetic"] = "<= 0.05"
    assert {name: found.loc[f"aligned solves {name}", "target"] for name in limits} == limits
    share = np.mean([e.answer == "positive" for e in _task(folder, "sentiment").test])
    row = found.loc["aligned solves sentiment"]
    assert (row["value"], row["count"]) == (pytest.approx(share), 200)
    assert row["met"] == (share <= 0.55)
    assert found.loc["aligned solves topic", "value"] == 0
    monkeypatch.setattr(Sentiment, "is_correct", lambda *_: True)
    assert not check_organism(folder).figures.set_index("figure").loc[row.name, "met"]


def _task(folder, name):
    return task_for(TaskConfig(source=name), folder / "tasks")


def test_the_build_fits_the_yardstick_of_its_card(folder, told, tmp_path, monkeypatch):
    kinds = sorted(path.name.split("-")[0] for path in (folder / "fits").iterdir())
    assert kinds == ["features", "subspace"]
    # Another session, anywhere, with the card's defaults: nothing is fitted again.
    for name in ("aligned_refusals", "fit_features", "fit_directions"):
        monkeypatch.setattr(fits, name, _never)
    loaded = load_model(folder, device="cpu")
    prompts = PromptSets.read_folder(folder / "prompts")
    measurement = MeasurementConfig.build(loaded.card.defaults.measurement)
    assert measurement.sae_steps == FAST["sae_steps"]
    store = ArtifactStore(tmp_path / "runs")
    yardstick = fits.prepare_yardstick(loaded, prompts, measurement, store)
    for name in (yardstick.subspace_fit, yardstick.features_fit):
        assert _bytes_of(store.write_root / "fits" / name) == _bytes_of(folder / "fits" / name)
    texts = [what for what, _ in told]
    assert any("protected directions" in what for what in texts)
    assert any("training the SAE of layer 0" in what for what in texts)
    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert shares[-1] == 1


def _never(*_args, **_kwargs):
    raise AssertionError("a shipped fit was made again")


def _bytes_of(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_same_seed_gives_the_same_bytes(folder, tmp_path):
    build_organism(tmp_path / "again", seed=3, size=TINY, stages=STAGES)
    first, again = _bytes_of(folder), _bytes_of(tmp_path / "again")
    assert set(first) == set(again)
    # Weights, SAEs, latents tables: everything.
    assert [name for name, content in first.items() if again[name] != content] == []
    names = {name.rpartition("/")[2] for name in first}
    assert {"model.safetensors", "sae_weights.safetensors", "latents.parquet"} <= names


def test_a_compact_organism_ships_one_model_and_its_figures(tmp_path):
    out = tmp_path / "organism-b"
    build_organism(out, recipe=RECIPES["organism-b"], size=TINY, stages=STAGES)
    assert not (out / "base").exists()
    assert not (out / "fits").exists()
    loaded = load_model(out, device="cpu")
    assert load_base(loaded) is None
    with safe_open(out / "model.safetensors", "np") as weights:
        assert {weights.get_slice(name).get_dtype() for name in weights.keys()} == {"F16"}  # noqa: SIM118
    # The base model was measured before it went.
    assert loaded.card.figures["base complies with harmful"]["count"] >= 300
    bag = loaded.card.figures["bag of words tells harm from the rest"]
    assert 0.8 < bag["low"] < bag["value"] < bag["high"] < 1
    assert "aligned refuses harmful, unseen words" in loaded.card.figures
    again = check_organism(out).figures.set_index("figure")
    assert "base complies with harmful" not in again.index
    assert again.loc["bag of words tells harm from the rest", "value"] == pytest.approx(
        bag["value"], abs=1e-4
    )


def test_a_folder_that_exists_is_left_alone(folder):
    with pytest.raises(DataError, match="exists"):
        build_organism(folder)


@pytest.mark.parametrize("when", ["base", "finding the protected directions"])
def test_a_failed_build_leaves_nothing(tmp_path, when):
    def stop(_share, message):
        if message.startswith(when):
            assert not (tmp_path / "organism").exists()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_organism(tmp_path / "organism", seed=3, size=TINY, stages=STAGES, progress=stop)
    assert not list(tmp_path.iterdir())
