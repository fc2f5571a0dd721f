"""Public SAEs instead of trained ones: from sae-lens' registry (faked), or from a folder."""

import shutil
import warnings
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from builders import make_prompts

from cwac.artifacts import ArtifactStore
from cwac.config import MeasurementConfig
from cwac.errors import ConfigError, CwacError, ModelError
from cwac.features import Sae
from cwac.models.loading import load_model
from cwac.preparation import public_saes
from cwac.preparation.fits import prepare_yardstick, yardstick_warnings
from cwac.preparation.public_saes import check_public_saes, read_public_saes

WIDTH = 48


def sae(hook, *, d_model=32, seed=0):
    """A JumpReLU SAE as sae-lens' loaders give one to save_inference_model."""
    stream = torch.Generator().manual_seed(seed)
    decoder = torch.randn(WIDTH, d_model, generator=stream)
    decoder = decoder / decoder.norm(dim=1, keepdim=True)
    config = {
        "architecture": "jumprelu",
        "d_in": d_model,
        "d_sae": WIDTH,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": False,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {"hook_name": hook, "sae_lens_version": "6.54.12"},
    }
    zeros = torch.zeros(WIDTH), torch.zeros(d_model)
    threshold = torch.full((WIDTH,), 0.02)
    return Sae(decoder.T.contiguous(), zeros[0], decoder, zeros[1], config, threshold)


@pytest.fixture(scope="module")
def loaded(tiny_folder):
    return load_model(tiny_folder, device="cpu")


@pytest.fixture
def release(tmp_path):
    folder = tmp_path / "release"
    sae("blocks.0.hook_resid_post").save(folder / "layer_0")
    sae("model.layers.1", seed=1).save(folder / "layer_1")
    return folder


def measurement(release, *ids, **more):
    return MeasurementConfig(sae_release=str(release), sae_ids=ids or None, latents=6, **more)


def test_a_yardstick_rests_on_saes_of_a_folder(loaded, release, tmp_path):
    store = ArtifactStore(tmp_path / "runs")
    yardstick = prepare_yardstick(loaded, make_prompts(18), measurement(release), store)
    features = yardstick.features
    assert features.layers == (0, 1)
    assert torch.equal(features.saes[1].w_dec, sae("", seed=1).w_dec)
    assert features.saes[0].k is None
    assert sum(len(chosen) for chosen in features.protected.values()) > 0
    assert any("explains" in text for text in yardstick_warnings(store, yardstick))
    # The same files elsewhere are the same SAEs; other files, or fewer, are others.
    again = shutil.copytree(release, tmp_path / "elsewhere")
    same = prepare_yardstick(loaded, make_prompts(18), measurement(again), store)
    assert same.features_fit == yardstick.features_fit
    sae("model.layers.1", seed=2).save(again / "layer_1")
    other = prepare_yardstick(loaded, make_prompts(18), measurement(again), store)
    fewer = prepare_yardstick(loaded, make_prompts(18), measurement(release, "layer_0"), store)
    assert fewer.features.layers == (0,)
    assert len({yardstick.features_fit, other.features_fit, fewer.features_fit}) == 3
    assert other.subspace_fit == yardstick.subspace_fit


def test_what_sae_lens_reads_equals_what_we_read(release):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sae_lens import SAE

        theirs = SAE.load_from_disk(str(release / "layer_1"), device="cpu")
    ours = Sae.load(release / "layer_1")
    x = torch.randn(9, 32, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        assert torch.equal(theirs.encode(x), ours.encode(x))
        assert torch.equal(theirs.decode(theirs.encode(x)), ours.decode(ours.encode(x)))
    assert 0 < (ours.encode(x) > 0).float().mean() < 0.6


@pytest.fixture
def registry(release, monkeypatch):
    """sae-lens with one release, whose SAEs lie in a folder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import sae_lens
        from sae_lens.loading import pretrained_saes_directory

    known = SimpleNamespace(repo_id="somebody/saes", saes_map={"layer_0": "a", "layer_1": "b"})
    asked = []

    def from_pretrained(name, sae_id, *, device):
        asked.append((name, sae_id))
        if not (release / sae_id).is_dir():
            raise OSError("no such file on the hub.\nA long explanation")
        return sae_lens.SAE.load_from_disk(str(release / sae_id), device=device)

    monkeypatch.setattr(
        pretrained_saes_directory, "get_pretrained_saes_directory", lambda: {"some-release": known}
    )
    monkeypatch.setattr(sae_lens.SAE, "from_pretrained", from_pretrained)
    return asked


def test_a_release_is_read_through_sae_lens(loaded, registry):
    found = read_public_saes(loaded, measurement("some-release", "layer_1", "layer_0"))
    assert registry == [("some-release", "layer_1"), ("some-release", "layer_0")]
    assert list(found) == [0, 1]
    assert torch.equal(found[0].w_enc, sae("").w_enc)
    assert found[0].threshold is not None


@pytest.mark.parametrize(
    ("name", "ids", "message"),
    [
        ("no-release", ("layer_0",), "neither a folder nor a release of sae-lens"),
        ("some-release", (), r"needs measurement\.sae_ids; it has layer_0, layer_1"),
        ("some-release", ("layer_7",), "has no SAE 'layer_7'; it has layer_0"),
    ],
)
def test_a_wrong_name_is_one_sentence(loaded, registry, name, ids, message):
    with pytest.raises(ConfigError, match=message):
        read_public_saes(loaded, measurement(name, *ids))
    assert not registry


def test_a_wrong_name_is_heard_of_before_anything_is_loaded(registry, release, monkeypatch):
    for name, ids, message in (
        ("no-release", ("layer_0",), "neither a folder nor a release"),
        ("some-release", ("layer_7",), "has no SAE 'layer_7'"),
        (release, ("layer_7",), "has no SAE 'layer_7'"),
    ):
        with pytest.raises(ConfigError, match=message):
            check_public_saes(measurement(name, *ids))
    check_public_saes(measurement(release))
    assert not registry
    monkeypatch.setattr(public_saes, "MOST_FOLDERS", 1)
    with pytest.raises(ConfigError, match="more than 1 folders below it"):
        check_public_saes(measurement(release))


def test_an_sae_that_cannot_be_fetched_is_one_sentence(loaded, registry, release, monkeypatch):
    shutil.rmtree(release / "layer_0")
    with pytest.raises(ModelError, match=r"cannot be read: no such file on the hub\.$"):
        read_public_saes(loaded, measurement("some-release", "layer_0"))
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(public_saes, "is_reached", lambda _repository: False)
    with pytest.raises(ModelError, match=r"out of reach; --offline .*sae_release=none"):
        read_public_saes(loaded, measurement("some-release", "layer_1"))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (sae("blocks.1.hook_mlp_out"), "not the output of a layer"),
        (sae("blocks.2.hook_resid_post"), "no decoder layer 2"),
        (sae("blocks.0.hook_resid_pre"), "no decoder layer -1"),
        (sae("blocks.0.hook_resid_post", d_model=24), "reads 24 numbers .* the model has 32"),
        (sae("model.layers.0"), "reads layer 0 like another one"),
        (
            replace(
                sae(""),
                config=sae("").config
                | {
                    "metadata": {
                        "hook_name": "blocks.1.hook_resid_pre",
                        "model_from_pretrained_kwargs": {"center_writing_weights": True},
                    }
                },
            ),
            "centred weights",
        ),
    ],
)
def test_saes_of_something_else_are_refused(loaded, release, other, message):
    other.save(release / "layer_1")
    with pytest.raises(CwacError, match=message):
        read_public_saes(loaded, measurement(release))


def test_what_enters_a_layer_left_the_one_before(loaded, release):
    shutil.rmtree(release / "layer_1")
    sae("blocks.1.hook_resid_pre").save(release / "layer_0")
    assert list(read_public_saes(loaded, measurement(release))) == [0]
