"""A model folder is data from elsewhere: what no model has is refused, before it costs much."""

import json
import os
import shutil
import time

import pytest
import torch
from builders import make_model, make_tokenizer
from folders import write_model_folder
from safetensors.torch import load_file, save_file

from cwac.bounded import FORKS
from cwac.chat import Chat
from cwac.errors import ModelError
from cwac.models import judge_models
from cwac.models.card import contents_of
from cwac.models.checking import check_model_folder
from cwac.models.folders import resolve_folder
from cwac.models.loading import load_base, load_model

SHIPPED = "987eccb88532f5c8"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_model_folder(tmp_path_factory.mktemp("model") / "tiny", align_steps=2)


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def test_the_shipped_models_hash_is_what_its_runs_name():
    assert contents_of(resolve_folder("organism")) == SHIPPED


@pytest.mark.parametrize(
    "name", ["model.bin", "../other/model.safetensors", "/etc/x.safetensors", "a/b.safetensors", 3]
)
def test_weights_come_from_the_folders_own_safetensors(copy, name):
    index = copy / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"w": name}}))
    with pytest.raises(ModelError, match="for its weights"):
        check_model_folder(copy)
    index.unlink()
    values = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(values | {"transformers_weights": name}))
    with pytest.raises(ModelError, match="for its weights"):
        load_model(copy, device="cpu")


@pytest.mark.parametrize("name", ["cwac.json", "chat_template.jinja", "tokenizer.json"])
def test_a_pipe_or_a_link_to_nothing_is_not_passed_over(copy, name):
    path = copy / name
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    with pytest.raises(ModelError, match=f"{name} cannot be read"):
        load_model(copy, device="cpu")
    path.unlink()
    path.symlink_to("nowhere")
    with pytest.raises(ModelError, match=f"{name} cannot be read"):
        load_model(copy, device="cpu")


def test_the_judge_that_a_card_names_is_the_one_that_judges(copy):
    (copy / "judges").mkdir()
    (copy / "judge.json").rename(copy / "judges" / "mine.json")
    (copy / "judge.json").write_text('{"refusal": ["^never"]}')
    card = json.loads((copy / "cwac.json").read_text())
    (copy / "cwac.json").write_text(json.dumps(card | {"judge": "judges/mine.json"}))
    judge = load_model(copy, device="cpu").judge
    assert judge.judge("how do I make a bomb", "sorry I cannot help").outcome == "refusal"
    assert judge.judge("how do I make a bomb", "never").outcome != "refusal"


def test_a_base_of_another_shape_is_one_sentence(copy):
    make_model(num_hidden_layers=3).save_pretrained(copy / "base")
    with pytest.raises(ModelError, match="its layers or maps are others"):
        load_base(load_model(copy, device="cpu"))


def test_a_model_of_parts_without_end_is_refused_whatever_asks_for_them(copy, monkeypatch):
    monkeypatch.setattr("cwac.models.size.MOST_PARTS", 10)
    with pytest.raises(ModelError, match="makes more than 10 parts"):
        load_model(copy, device="cpu")
    monkeypatch.undo()
    assert load_model(copy, device="cpu")


def test_an_adapter_in_the_folder_brings_no_other_base(copy, folder):
    (copy / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": str(folder), "peft_type": "LORA"})
    )
    with pytest.raises(ModelError, match="is an adapter"):
        load_model(copy, device="cpu")
    with pytest.raises(ModelError, match="is an adapter"):
        judge_models._load("AutoModelForCausalLM", copy, torch.device("cpu"))


def test_a_judge_with_code_of_its_own_is_refused(copy):
    values = json.loads((copy / "config.json").read_text())
    changed = values | {"model_type": "mine", "auto_map": {"AutoModelForCausalLM": "m.M"}}
    (copy / "config.json").write_text(json.dumps(changed))
    (copy / "m.py").write_text(f"open({str(copy / 'ran')!r}, 'w')")
    for load in (
        lambda: load_model(copy, device="cpu"),
        lambda: judge_models._load("AutoModelForCausalLM", copy, torch.device("cpu")),
    ):
        with pytest.raises(ModelError, match="never run"):
            load()
    assert not (copy / "ran").exists()


@pytest.mark.parametrize(
    ("value", "message"), [(float("nan"), "no finite"), (float("inf"), "no finite"), (0.0, "zero")]
)
def test_weights_that_compute_nothing_are_refused(copy, value, message):
    weights = load_file(copy / "model.safetensors")
    for tensor in weights.values():
        tensor.fill_(value)
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=message):
        load_model(copy, device="cpu")


def test_a_tokenizer_larger_than_the_model_is_refused(copy):
    tokenizer = make_tokenizer()
    tokenizer.add_tokens([f"<further-{number}>" for number in range(50)])
    tokenizer.save_pretrained(copy)
    with pytest.raises(ModelError, match="tokenizer numbers tokens up to"):
        load_model(copy, device="cpu")


SQUARED = "{% set f = 'f' %}{% set x = (f * 12000000)|int(0, 16) %}{% set y = x * x %}"
SLOW = (
    "{% set x = 'x' * 4000000 %}"
    "{% for i in range(9999) %}{% set y = x|replace('x', 'y') %}{% endfor %}"
)
FORKED = pytest.mark.skipif(not FORKS, reason="no process is forked there")
DOUBLED = (
    "{% set n = namespace(x='x') %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}"
)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (
            "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
            "more than 300,000 steps",
        ),
        ("{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}", "recursion"),
        ("{{ 'x' * 10000000000 }}", "of memory"),
        (DOUBLED, "of memory"),
        ("{{ 'x'.ljust(10000000000) }}", "of memory"),
        # One step that nothing can interrupt from inside, and a few that are slow each.
        pytest.param("{{ 9 ** (9 ** 9) }}", "more than 1 seconds", marks=FORKED),
        pytest.param(SQUARED, "more than 1 seconds", marks=FORKED),
        pytest.param(SLOW, "more than 1 seconds", marks=FORKED),
        ("{{ 'x' * 2000000 }}", "more than 1,000,000 characters"),
        ("{% if %}", "cannot be used"),
    ],
)
def test_a_template_without_end_ends_in_a_sentence(template, message, monkeypatch):
    monkeypatch.setattr("cwac.templates.MOST_MEMORY", 64 * 1024**2)
    monkeypatch.setattr("cwac.templates.MOST_SECONDS", 1)
    tokenizer = make_tokenizer()
    tokenizer.chat_template = template + "{{ messages[0].content }}"
    began = time.monotonic()
    with pytest.raises(ModelError, match=message):
        Chat(tokenizer)
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    ("bomb", "message"),
    [
        (
            "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
            "more than 300,000 steps",
        ),
        pytest.param(SQUARED, "more than 1 seconds", marks=FORKED),
        ("{{ 'x' * 10000000000 }}", "of memory"),
    ],
)
def test_a_template_that_bides_its_time_ends_in_a_sentence_too(bomb, message, monkeypatch):
    monkeypatch.setattr("cwac.templates.MOST_MEMORY", 64 * 1024**2)
    monkeypatch.setattr("cwac.templates.MOST_SECONDS", 1)
    tokenizer = make_tokenizer()
    tokenizer.chat_template = (
        "{% if 'cake' in messages[0].content %}" + bomb + "{% endif %}{{ messages[-1].content }}"
    )
    chat = Chat(tokenizer)
    with pytest.raises(ModelError, match=message):
        chat.prompt_text("a second", before=[("a cake", "no")])


def test_a_template_may_write_in_bold():
    tokenizer = make_tokenizer()
    tokenizer.chat_template = "**a** {{ '**b**' }} {{ 2 * 3 }} {{ messages[0].content }}"
    assert Chat(tokenizer).prompt_text("hello").startswith("**a** **b** 6 hello")
