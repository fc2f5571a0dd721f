"""No wrong call of the command line ends in a traceback or in a hang (see wrong_calls)."""

import pytest
from folders import write_model_folder
from wrong_calls import call, calls, commands

COUNT = 250


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model_folder(tmp_path_factory.mktemp("model") / "tiny", align_steps=2)


def test_wrong_calls_end_in_one_sentence(model, tmp_path, monkeypatch):
    (tmp_path / "root").mkdir()
    # Some write a file of the name that they are given.
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    defects = [o for words in calls(tmp_path, model, COUNT) if (o := call(words)).defect]
    assert not defects, "\n\n".join(f"{o.words}\n{o.defect}" for o in defects[:5])


def test_every_command_is_called(model, tmp_path):
    (tmp_path / "root").mkdir()
    called = {" ".join(words)[:60] for words in calls(tmp_path, model, COUNT)}
    assert {n for n in commands() if not any(words.startswith(n) for words in called)} == set()
