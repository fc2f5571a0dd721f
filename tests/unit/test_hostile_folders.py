"""Whatever a folder of a model, adapter, judge or SAE holds: one sentence, no hang."""

import json
import random
import shutil
import signal
import time

import pytest
from folders import write_model_folder
from hostile_folders import KINDS, sound_folders, spoiled
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from cwac.config import MeasurementConfig
from cwac.errors import CwacError
from cwac.features import Sae
from cwac.judges import GeneralJudge
from cwac.models.judge_folders import check_judge
from cwac.models.judge_models import judge_named
from cwac.models.loading import load_model
from cwac.preparation.public_saes import check_public_saes
from cwac.runner.tuned import check_fits, load_tuned

PAIR = ("how do I make a bomb", "sure make a bomb")
SECONDS = 20
LONGEST = 700


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    root = tmp_path_factory.mktemp("sound")
    folders = sound_folders(root, write_model_folder(root / "tiny", align_steps=2))
    return folders, load_model(folders["model"], device="cpu")


def use(kind, folder, aligned):
    """Open a folder as commands do: first what tells early, then all of it."""
    if kind == "model":
        return load_model(folder, device="cpu")
    if kind == "adapter":
        check_fits(folder, aligned.folder)
        return load_tuned(folder, aligned)
    if kind == "sae":
        check_public_saes(MeasurementConfig(sae_release=str(folder)))
        return [Sae.load(path.parent) for path in sorted(folder.rglob("cfg.json"))]
    check_judge(f"{kind}:{folder}")
    return judge_named(f"{kind}:{folder}", GeneralJudge(), aligned.device).judge(*PAIR)


def sentence_of(kind, folder, aligned):
    """Return what is said of a folder, empty where it can be used."""

    def late(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        use(kind, folder, aligned)
    except CwacError as problem:
        return str(problem)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    return ""


@pytest.mark.parametrize("kind", KINDS)
def test_sound_folders_can_be_used(sound, kind):
    folders, aligned = sound
    assert sentence_of(kind, folders[kind], aligned) == ""


@settings(
    max_examples=40, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(kind=st.sampled_from(KINDS), seed=st.integers(0, 2**32))
def test_spoiled_folders_end_in_one_sentence(sound, tmp_path_factory, kind, seed):
    folders, aligned = sound
    target = tmp_path_factory.mktemp("spoiled") / "folder"
    way = spoiled(folders[kind], target, random.Random(seed))
    began = time.monotonic()
    sentence = sentence_of(kind, target, aligned)
    assert len(sentence) < LONGEST, (way, sentence)
    assert time.monotonic() - began < SECONDS, way
    shutil.rmtree(target.parent, ignore_errors=True)


@pytest.fixture
def changed(sound, tmp_path):
    """Give a copy of a sound folder with settings changed in one of its files."""

    def change(kind, file, **values):
        folder = shutil.copytree(sound[0][kind], tmp_path / "copy", dirs_exist_ok=True)
        known = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps(known | values))
        return sentence_of(kind, folder, sound[1])

    return change


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"peft_type": "XLORA", "adapters": {"a": "/elsewhere"}}, "peft_type = 'XLORA'"),
        ({"peft_type": "PROMPT_TUNING"}, "peft_type = 'PROMPT_TUNING'"),
        ({"megatron_config": {"a": 1}}, "megatron_config = {'a': 1}"),
        ({"layer_replication": [[0, 10**7]]}, "layer_replication"),
        ({"r": 10**9}, "rank 1000000000; allowed: a whole number from 1 to that of its factors, 2"),
        ({"rank_pattern": {"q_proj": 3}}, "has rank 3"),
        ({"target_modules": "((.*)*)*!"}, "takes more than 0.2 seconds on the names"),
        ({"target_modules": "("}, "is broken"),
        ({"lora_alpha": 1e308}, "no finite numbers"),
    ],
)
def test_an_adapter_is_plain_lora(changed, values, sentence, monkeypatch):
    monkeypatch.setattr("cwac.models.checking._MOST_SECONDS", 0.2)
    assert sentence in changed("adapter", "adapter_config.json", **values)


@pytest.mark.parametrize("way", ["has no place in it", "is not stored"])
def test_all_factors_of_an_adapter_are_taken_up(sound, tmp_path, way):
    folders, aligned = sound
    folder = shutil.copytree(folders["adapter"], tmp_path / "copy")
    path = folder / "adapter_model.safetensors"
    weights = load_file(path)
    name = next(name for name in sorted(weights) if "layers.1" in name)
    further = {name.replace("layers.1", "layers.7"): weights[name]}
    less = {key: tensor for key, tensor in weights.items() if key != name}
    save_file(less if way == "is not stored" else weights | further, path, {"format": "pt"})
    assert way in sentence_of("adapter", folder, aligned)


@pytest.mark.parametrize(
    ("kind", "file", "values", "sentence"),
    [
        ("generator", "config.json", {"max_position_embeddings": 8}, "more than 8"),
        ("classifier", "tokenizer_config.json", {"model_max_length": -3}, "allowed: 8 and more"),
        ("classifier", "config.json", {"num_labels": 10**9}, "up to 100,000"),
        ("model", "config.json", {"attn_implementation": "a/b"}, "allowed: eager, flex_attention"),
        ("model", "config.json", {"decoder_layers": 10**7}, "up to 1,000"),
        ("sae", "layer_0/cfg.json", {"k": 10**9}, "allowed: 1 to 64"),
    ],
)
def test_what_no_folder_says_is_named(changed, kind, file, values, sentence):
    assert sentence in changed(kind, file, **values)
