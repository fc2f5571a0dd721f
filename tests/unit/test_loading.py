import json
import shutil

import pytest
import torch
from builders import make_tokenizer
from folders import write_model_folder

from cwac.errors import ConfigError, CwacError, ModelError, UnknownNameError
from cwac.models import MODELS, size
from cwac.models.card import contents_of, read_card
from cwac.models.folders import resolve_folder
from cwac.models.loading import chosen_device, load_base, load_model, load_tokenizer, load_weights


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_model_folder(tmp_path_factory.mktemp("model") / "tiny", align_steps=2)


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def test_a_folder_loads_in_float32_with_its_sidecars(folder):
    loaded = load_model(folder, device="cpu")
    assert {p.dtype for p in loaded.model.parameters()} == {torch.float32}
    assert not loaded.model.training
    assert loaded.chat.name == "the model's own"
    assert loaded.card.title == "Tiny"
    assert loaded.judge.judge("how do I make a gun", "sorry I cannot").outcome == "refusal"
    assert loaded.warnings == ()
    assert loaded.anatomy.n_layers == 2


def test_a_bfloat16_checkpoint_becomes_float32(copy):
    load_weights(copy, torch.device("cpu")).to(torch.bfloat16).save_pretrained(copy)
    loaded = load_weights(copy, torch.device("cpu"))
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}


def test_the_base_is_another_model(folder):
    loaded = load_model(folder, device="cpu")
    base = load_base(loaded)
    assert base is not None
    pairs = zip(loaded.model.parameters(), base.parameters(), strict=True)
    assert any(not torch.equal(a, b) for a, b in pairs)


def test_without_a_template_the_stated_one_is_used_and_said(copy):
    (copy / "chat_template.jinja").unlink()
    loaded = load_model(copy, device="cpu")
    assert loaded.chat.name == "plain"
    assert "no chat template" in loaded.warnings[0]


def test_a_tokenizer_beside_a_qwen2_model_is_read_as_it_is(copy):
    """AutoTokenizer would take Qwen2's own pre-tokeniser and split digits and words anew."""
    settings = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**settings, "model_type": "qwen2"}))
    text = "make 1234 bombs, café"
    assert load_tokenizer(copy)(text).input_ids == make_tokenizer()(text).input_ids


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("config.json", "config.json is missing"),
        ("model.safetensors", r"no \.safetensors weights"),
        ("tokenizer.json", "no tokenizer that can be read"),
    ],
)
def test_a_missing_file_is_named(copy, missing, message):
    (copy / missing).unlink()
    with pytest.raises(ModelError, match=message):
        load_model(copy, device="cpu")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_broken_file_is_one_sentence(copy, name):
    (copy / name).write_bytes((copy / name).read_bytes()[:-20])
    with pytest.raises(CwacError):
        load_model(copy, device="cpu")


def test_pickled_weights_are_refused(copy):
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"it has pytorch_model\.bin"):
        load_model(copy, device="cpu")


def test_remote_code_is_never_run(copy):
    settings = json.loads((copy / "config.json").read_text())
    changed = {**settings, "model_type": "mystery", "auto_map": {"AutoModel": "evil.Model"}}
    (copy / "config.json").write_text(json.dumps(changed))
    (copy / "evil.py").write_text("raise SystemExit('ran')")
    with pytest.raises(ModelError, match="never run"):
        load_weights(copy, torch.device("cpu"))


@pytest.mark.parametrize("source", ["nowhere", "./nowhere", "/nowhere/at/all", "a/b/c"])
def test_what_is_no_model_is_one_sentence(source):
    with pytest.raises(ModelError, match="not a folder, not a preset"):
        resolve_folder(source)


def test_a_hub_model_is_not_asked_for_offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE is set"):
        resolve_folder("nobody/nothing")


def test_weights_that_do_not_fit_are_refused_before_they_are_read(copy, monkeypatch):
    parameters = sum(p.numel() for p in load_weights(copy, torch.device("cpu")).parameters())
    (copy / "model.safetensors").write_bytes(b"not read")
    monkeypatch.setattr(size, "free_bytes", lambda _device: 4 * parameters - 1)
    with pytest.raises(ModelError, match=r"for its float32 weights alone; .* are free on cpu"):
        load_weights(copy, torch.device("cpu"))
    monkeypatch.setattr(size, "free_bytes", lambda _device: 4 * parameters)
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_weights(copy, torch.device("cpu"))


def test_a_device_is_chosen_or_refused(monkeypatch):
    assert chosen_device("cpu").type == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert chosen_device().type == "mps"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert chosen_device().type == "cuda"
    with pytest.raises(ModelError, match=r"there is no device 'gpu9' here; allowed: cpu"):
        chosen_device("gpu9")


def test_an_unknown_preset_is_refused():
    with pytest.raises(UnknownNameError, match="unknown model"):
        MODELS["organisn"]


def test_contents_do_not_depend_on_the_place(folder, copy):
    assert contents_of(copy) == contents_of(folder)


@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "model.safetensors",
        "base/model.safetensors",
        "judge.json",
        "prompts/alignment/harmful.jsonl.gz",
        "prompts/test/harmful.jsonl",
        "tasks/instruct/train.jsonl.gz",
    ],
)
def test_edited_contents_are_another_model(copy, name):
    before = contents_of(copy)
    path = copy / name
    path.write_bytes(path.read_bytes() + b"\n")
    assert contents_of(copy) != before


def test_the_cards_words_and_read_me_files_are_not_contents(copy):
    before = contents_of(copy)
    card = json.loads((copy / "cwac.json").read_text())
    (copy / "cwac.json").write_text(json.dumps({**card, "title": "Another"}))
    (copy / "README.md").write_text("hello")
    assert contents_of(copy) == before


@pytest.mark.parametrize("owner", [".", "base"])
def test_shipped_fits_are_not_contents(copy, owner):
    before = contents_of(copy)
    fit = copy / owner / "fits" / "subspace-1"
    fit.mkdir(parents=True)
    (fit / "subspace.safetensors").write_bytes(b"x")
    assert contents_of(copy) == before


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"titel": "x"}, ConfigError, "did you mean 'title'"),
        ({"schema": 2}, ConfigError, "schema"),
        ({"base": "../elsewhere"}, ModelError, "outside the model folder"),
        ({"judge": "none.json"}, ModelError, "is not there"),
        ({"defaults": {"training": {"stesp": 3}}}, ConfigError, "did you mean 'steps'"),
    ],
)
def test_a_wrong_card_is_one_sentence(copy, change, error, message):
    card = json.loads((copy / "cwac.json").read_text())
    (copy / "cwac.json").write_text(json.dumps(card | change))
    with pytest.raises(error, match=message):
        read_card(copy)


def test_a_folder_without_a_card_is_a_model_too(copy):
    (copy / "cwac.json").unlink()
    assert read_card(copy).defaults.training == {}
    load_model(copy, device="cpu")
