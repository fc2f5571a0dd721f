"""A tiny organism is built, loaded and checked like any other."""

import pytest

from cwac.config import TaskConfig
from cwac.errors import DataError
from cwac.models.loading import load_base, load_model
from cwac.models.organism.settings import OrganismSize, StageSettings
from cwac.preparation.organism import build_organism, check_organism
from cwac.prompts import PromptSets
from cwac.tasks import task_for

TINY = OrganismSize(vocabulary=600, d_model=16, layers=1, heads=2, d_ff=32)
STAGES = (StageSettings(3, 8, 1e-3), StageSettings(2, 8, 1e-3))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("build") / "organism"
    build_organism(out, seed=3, size=TINY, stages=STAGES)
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


def test_the_check_measures_every_figure(folder):
    check = check_organism(folder)
    assert list(check.figures.columns[:3]) == ["figure", "value", "count"]
    assert not check.passed
    assert (check.figures["count"] > 0).all()
    assert {"split_a", "split_b", "near"} <= set(check.overlap.columns)


def test_the_same_seed_gives_the_same_weights(folder, tmp_path):
    build_organism(tmp_path / "again", seed=3, size=TINY, stages=STAGES)
    for name in ("model.safetensors", "base/model.safetensors", "tokenizer.json"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_a_folder_that_exists_is_left_alone(folder):
    with pytest.raises(DataError, match="exists"):
        build_organism(folder)


def test_a_failed_build_leaves_nothing(tmp_path):
    def stop(what, share):
        if what == "base":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_organism(tmp_path / "organism", size=TINY, stages=STAGES, progress=stop)
    assert not list(tmp_path.iterdir())
