"""GGUF sources without the large file: names, the cache, and what is refused."""

import hashlib
import json
import os
import shutil
import sys
import time

import pytest
from folders import write_model_folder

from cwac.errors import ModelError
from cwac.interfaces import ModelSpec
from cwac.models.card import contents_of
from cwac.models.folders import resolve_folder
from cwac.models.gguf import absolute_gguf, gguf_folder
from cwac.models.loading import load_model
from cwac.models.presets import card_of
from cwac.models.size import size_of
from cwac.provenance import collect
from cwac.records import Provenance, WeightsOrigin


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_model_folder(tmp_path_factory.mktemp("model") / "tiny", align_steps=2)


@pytest.fixture
def made(tiny, tmp_path, monkeypatch):
    """A file that was dequantised before: its folder lies in the cache under its hash."""
    monkeypatch.setenv("CWAC_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "tiny.Q4_1.gguf"
    file.write_bytes(b"GGUF and more")
    sha256 = hashlib.sha256(b"GGUF and more").hexdigest()
    folder = tmp_path / "cache" / "gguf" / sha256[:16]
    shutil.copytree(tiny / "base", folder)
    origin = {"file": file.name, "sha256": sha256, "quantisation": "Q4_1"}
    (folder / "cwac.json").write_text(json.dumps({"schema": 1, "origin": origin}))
    return file, folder, sha256


def test_a_source_has_its_file_by_an_absolute_path():
    assert absolute_gguf("owner/name") == "owner/name"
    assert absolute_gguf("x1:small.gguf").startswith("x1:/")


def test_what_a_killed_process_left_in_the_cache_goes_with_the_next_file(made):
    file, folder, _ = made
    left = folder.with_name(".writing-0a1b2c3d-x")
    left.mkdir()
    os.utime(left, (time.time() - 7200,) * 2)
    gguf_folder(file)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_file_is_dequantised_once_and_is_an_ordinary_model_then(made):
    file, folder, sha256 = made
    assert resolve_folder(file) == folder
    loaded = load_model(file, device="cpu")
    assert loaded.origin == WeightsOrigin(file=file.name, sha256=sha256, quantisation="Q4_1")
    assert loaded.origin.words == "dequantised Q4_1"
    # Whatever the libraries of another version write beside the weights, it is the same model.
    assert loaded.contents == sha256[:16]
    (folder / "generation_config.json").write_text("{}")
    assert contents_of(folder) == sha256[:16]


def test_a_record_names_file_hash_and_quantisation(made):
    file, _, sha256 = made
    weights = load_model(file, device="cpu").origin
    stored = Provenance.model_validate_json(collect(weights=weights).model_dump_json()).weights
    assert (stored.file, stored.sha256, stored.quantisation) == (file.name, sha256, "Q4_1")
    assert WeightsOrigin(file="a", sha256="b", quantisation="F16").words == "GGUF, F16"


def test_a_preset_takes_a_file_of_its_own_model_alone(made, monkeypatch):
    file, folder, _ = made
    with pytest.raises(ModelError, match=r"another model than 'smollm2-135m-instruct'.*134,515,"):
        resolve_folder(f"smollm2-135m-instruct:{file}")
    count = size_of(folder).parameters
    spec = ModelSpec(
        name="tiny", title="Tiny", source="a/b", parameters=count,
        defaults={"measurement": {"sae_k": 3}},
    )  # fmt: skip
    monkeypatch.setattr("cwac.models.MODELS", {"tiny": spec})
    assert resolve_folder(f"tiny:{file}") == folder
    card = card_of(f"tiny:{file}", folder, [spec])
    assert (card.title, card.defaults.measurement) == ("Tiny", {"sae_k": 3})
    assert card.origin.quantisation == "Q4_1"
    assert card_of(file, folder, [spec]).title == ""


def test_a_file_that_holds_no_model_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("CWAC_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ModelError, match="there is no file"):
        resolve_folder(tmp_path / "gone.gguf")
    other = tmp_path / "other.gguf"
    other.write_bytes(b"PK")
    with pytest.raises(ModelError, match="does not begin with 'GGUF'"):
        gguf_folder(other)
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(60))
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(ModelError, match=r"needs the package gguf: pip install 'cwac-lab\[gguf\]'"):
        gguf_folder(broken)
    monkeypatch.undo()
    monkeypatch.setenv("CWAC_CACHE", str(tmp_path / "cache"))
    pytest.importorskip("gguf")
    with pytest.raises(ModelError, match=r"broken\.gguf cannot be read"):
        gguf_folder(broken)
    assert list((tmp_path / "cache" / "gguf").iterdir()) == []
