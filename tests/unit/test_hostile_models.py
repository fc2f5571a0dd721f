"""A model folder is data from elsewhere: what no model has is refused, before it costs much."""

import json
import os
import shutil
import time

import pytest
import torch
from builders import make_tokenizer
from folders import write_model_folder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from cwac.bounded import FORKS
from cwac.chat import Chat
from cwac.errors import CwacError, ModelError
from cwac.models import judge_models
from cwac.models.card import contents_of
from cwac.models.folders import resolve_folder
from cwac.models.loading import check_model_folder, load_model

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


@settings(
    max_examples=60, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(data=st.data())
def test_no_value_of_a_configuration_ends_in_a_traceback_or_a_hang(folder, tmp_path_factory, data):
    copy = shutil.copytree(folder, tmp_path_factory.mktemp("changed") / "copy")
    name = data.draw(st.sampled_from(["config.json", "judge.json", "cwac.json", "tokenizer.json"]))
    values = json.loads((copy / name).read_text())
    key = data.draw(st.sampled_from(sorted(values)))
    values[key] = data.draw(
        st.sampled_from([10**7, -1, 0, 2**70, "x", "", None, [], {}, [3], True, 1e300, [[]]])
    )
    (copy / name).write_text(json.dumps(values))
    began = time.monotonic()
    sentence = ""
    try:
        load_model(copy, device="cpu")
    except CwacError as problem:
        sentence = str(problem)
    assert len(sentence) < 700
    assert time.monotonic() - began < 30
