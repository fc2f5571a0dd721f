"""The hub as it answers, or does not, without a network: every answer is one sentence."""

import time
from types import SimpleNamespace

import huggingface_hub
import pytest
from folders import write_model_folder
from huggingface_hub import errors

from cwac.config import ModelConfig
from cwac.errors import ModelError
from cwac.models.folders import resolve_folder
from cwac.models.hub import commit_of, hub_folder
from cwac.models.loading import load_model

NAME = "somebody/some-model"


@pytest.fixture
def online(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


@pytest.fixture
def hub(online, monkeypatch):
    """A hub whose two answers, about the model and of its files, a test sets."""
    answers = SimpleNamespace(about=info("model.safetensors"), files=None, asked=[], patience=None)

    def model_info(_api, name, *, timeout):
        answers.patience = timeout
        return give(answers.about)

    def snapshot_download(name, **wanted):
        answers.asked.append(wanted)
        return give(answers.files)

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return answers


def give(answer):
    if isinstance(answer, Exception):
        raise answer
    return answer


def info(*names):
    return SimpleNamespace(siblings=[SimpleNamespace(rfilename=name) for name in names])


def answered(kind, status):
    """An error of the hub with the response that the library gives it."""
    request = SimpleNamespace(url="https://hub", method="GET", headers={})
    response = SimpleNamespace(status_code=status, headers={}, request=request, url="https://hub")
    return kind("the server's long\nexplanation", response=response)


def test_a_hub_model_is_fetched_and_loaded(hub, tmp_path):
    hub.files = str(write_model_folder(tmp_path / "model", align_steps=1))
    assert load_model(NAME, device="cpu").card.title == "Tiny"
    (wanted,) = hub.asked
    assert wanted["local_files_only"] is False
    assert not any("py" in pattern or "bin" in pattern for pattern in wanted["allow_patterns"])
    assert hub.patience <= 5


@pytest.mark.parametrize(
    ("kind", "status", "message"),
    [
        (errors.GatedRepoError, 403, "is gated: accept its terms .* log in with 'hf auth login'"),
        (errors.RepositoryNotFoundError, 401, "no folder and no public hub model"),
        (errors.DisabledRepoError, 403, "was disabled"),
    ],
)
@pytest.mark.parametrize("when", ["about", "files"])
def test_what_the_hub_refuses_is_one_sentence(hub, kind, status, message, when):
    setattr(hub, when, answered(kind, status))
    with pytest.raises(ModelError, match=message) as caught:
        resolve_folder(NAME)
    assert "\n" not in str(caught.value)
    assert str(caught.value).count(NAME) == 1


@pytest.mark.parametrize("problem", [errors.HTTPError("no route"), TimeoutError("late")])
def test_a_hub_out_of_reach_leaves_the_cache(hub, problem, tmp_path):
    hub.about, hub.files = problem, str(tmp_path)
    assert resolve_folder(NAME) == tmp_path
    assert hub.asked[0]["local_files_only"] is True
    hub.files = errors.LocalEntryNotFoundError("a long\nexplanation")
    with pytest.raises(ModelError, match=r"in the local cache \(the hub cannot be reached\)\.$"):
        resolve_folder(NAME)


def test_a_download_that_breaks_says_so(hub):
    hub.files = errors.HTTPError("connection lost.\nmore")
    with pytest.raises(ModelError, match=r"the download failed: connection lost\)\.$"):
        hub_folder(NAME)


def test_pickled_weights_are_refused_before_they_are_fetched(hub):
    hub.about = info("config.json", "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"no \.safetensors weights \(it has pytorch_model\.bin\)"):
        hub_folder(NAME)
    assert not hub.asked


def test_offline_the_hub_is_not_asked(monkeypatch, hub):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    hub.about = AssertionError("asked")
    hub.files = errors.LocalEntryNotFoundError("nothing")
    started = time.perf_counter()
    with pytest.raises(ModelError, match=r"\(HF_HUB_OFFLINE is set\)"):
        hub_folder(NAME)
    assert time.perf_counter() - started < 2
    assert hub.asked[0]["local_files_only"] is True


def test_a_revision_is_fetched_and_told_apart_from_a_path(tmp_path, monkeypatch):
    asked = []
    folder = tmp_path / "models--o--m" / "snapshots" / "abc123"
    folder.mkdir(parents=True)

    def fetch(hub_id, **wanted):
        asked.append((hub_id, wanted.get("revision")))
        return str(folder)

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    config = ModelConfig(source="o/m", revision="v2")
    assert commit_of(resolve_folder(config.place)) == "abc123"
    resolve_folder("o/m")
    resolve_folder("qwen3-1.7b@main")
    assert asked == [("o/m", "v2"), ("o/m", None), ("Qwen/Qwen3-1.7B", "main")]
    assert commit_of(tmp_path) is None
    assert "revision" not in ModelConfig().model_dump()
    for source in ("organism@main", f"{tmp_path}@main"):
        with pytest.raises(ModelError, match="only hub models have revisions"):
            resolve_folder(source)
