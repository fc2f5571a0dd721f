"""What the text of a source says by itself."""

import doctest

from cwac import sources
from cwac.config import ModelConfig, TaskConfig
from cwac.sources import slug, split_gguf, split_revision


def test_the_examples_are_true():
    assert doctest.testmod(sources).failed == 0


def test_a_source_names_a_file_or_a_model_and_its_file():
    assert [str(part) for part in split_gguf("some/small.gguf")] == ["", "some/small.gguf"]
    assert [str(p) for p in split_gguf("organism:a/b.gguf")] == ["organism", "a/b.gguf"]
    assert [str(p) for p in split_gguf("C:/small.gguf")] == ["", "C:/small.gguf"]


def test_what_lies_on_the_disk_under_that_name_has_no_revision_and_names_no_model(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny@main").mkdir()
    (tmp_path / "ab:c.gguf").touch()
    assert split_revision("tiny@main") == ("tiny@main", None)
    assert split_gguf("ab:c.gguf")[0] == ""


def test_labels_are_those_of_the_settings():
    assert ModelConfig(source="smollm2-135m-instruct:/a/b.gguf").label == "smollm2-135m-instruct"
    assert TaskConfig(source="hf:/data/sets/reviews:train").label == "reviews"
    assert TaskConfig(source="C:/reviews.csv").label == "reviews"


def test_slug_never_leaves_a_folder():
    assert "/" not in slug("../../etc/passwd")
    assert not slug("..").startswith(".")
