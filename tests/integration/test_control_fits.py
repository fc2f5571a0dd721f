"""Stored fits of the controls' subspaces: on harmless requests, and of the last directions."""

import json

import pytest
import torch

from cwac.artifacts import ArtifactStore
from cwac.config import MeasurementConfig
from cwac.errors import DataError
from cwac.generation import answer
from cwac.judges import Verdict
from cwac.models.loading import load_model
from cwac.preparation import fits
from cwac.preparation.fits import fit_subspace
from cwac.preparation.safety_text import aligned_compliances
from cwac.prompts import PromptSets

MEASUREMENT = MeasurementConfig(rank=5, tokens="prompt")


@pytest.fixture(scope="module")
def opened(tiny_folder, tmp_path_factory):
    loaded = load_model(tiny_folder, device="cpu")
    prompts = PromptSets.read_folder(tiny_folder / "prompts")
    return loaded, prompts, ArtifactStore(tmp_path_factory.mktemp("runs"))


def _moment(loaded, entry, texts):
    """Dense mean second moment of a map's inputs on prompt tokens, one request at a time."""
    read = []
    handle = loaded.model.get_submodule(entry.path).register_forward_hook(
        lambda _module, args, _out: read.append(args[0].detach()[0].double())
    )
    with torch.no_grad():
        for text in texts:
            loaded.model(input_ids=torch.tensor([loaded.chat.prompt_ids(text)]))
    handle.remove()
    columns = torch.cat(read)
    return columns.T @ columns / len(columns)


def _kept(loaded, prompts, kind):
    texts = [prompt.text for prompt in prompts.get("safety", kind)]
    said = answer(loaded.model, loaded.chat, texts, max_new_tokens=48, batch_size=64)
    refused = [
        loaded.judge.judge(text, one.text, cut=one.cut).outcome == "refusal"
        for text, one in zip(texts, said, strict=True)
    ]
    wanted = kind == "harmful"
    return [t for t, r in zip(texts, refused, strict=True) if r == wanted] or texts


@pytest.mark.parametrize("kind", ["harmful", "harmless"])
@pytest.mark.parametrize("directions", ["leading", "trailing"])
def test_a_control_equals_dense_eigenvectors_of_its_own_requests(opened, kind, directions):
    loaded, prompts, store = opened
    found = fit_subspace(loaded, prompts, MEASUREMENT, store, kind=kind, directions=directions)
    entry = loaded.anatomy.select("ffn")[0]
    moment = _moment(loaded, entry, _kept(loaded, prompts, kind))
    values, vectors = torch.linalg.eigh(moment)
    picked = (vectors[:, -5:], values[-5:]) if directions == "leading" else (None, values[:5])
    basis = found.bases[entry.path].double()
    assert basis.shape[1] == 5
    # Energies rather than vectors: the smallest eigenvalues may be equal.
    energy = torch.einsum("ir,ij,jr->r", basis, moment, basis).sort().values
    assert torch.allclose(energy, picked[1], rtol=1e-3, atol=1e-6 * float(values[-1]))
    if picked[0] is not None:
        assert (picked[0].T @ basis).square().sum() == pytest.approx(5, abs=1e-4)


def test_controls_have_fits_of_their_own_that_are_read_again(opened, monkeypatch):
    loaded, prompts, store = opened
    choices = [
        {},
        {"kind": "harmless"},
        {"directions": "trailing"},
        {"kind": "harmless", "directions": "trailing"},
    ]
    first = [fit_subspace(loaded, prompts, MEASUREMENT, store, **choice) for choice in choices]
    assert len(list((store.write_root / "fits").glob("subspace-*"))) == len(choices)

    def never(*_args, **_kwargs):
        raise AssertionError("fitted again")

    monkeypatch.setattr(fits, "fit_directions", never)
    for choice, known in zip(choices, first, strict=True):
        again = fit_subspace(loaded, prompts, MEASUREMENT, store, **choice)
        assert all(torch.equal(again.bases[path], basis) for path, basis in known.bases.items())


def test_a_fit_on_harmless_requests_counts_no_refusals(opened):
    loaded, prompts, store = opened
    fit_subspace(loaded, prompts, MEASUREMENT, store)
    fit_subspace(loaded, prompts, MEASUREMENT, store, kind="harmless")
    folders = (store.write_root / "fits").glob("subspace-*")
    asked = [json.loads((folder / "quality.json").read_text())["asked"] for folder in folders]
    assert None in asked
    assert len(prompts.get("safety", "harmful")) in asked


def test_harmless_requests_that_are_refused_are_left_out(opened, monkeypatch):
    loaded, prompts, _ = opened
    harmless = prompts.get("safety", "harmless")
    refused = {prompt.text for prompt in harmless[::2]}

    class Judge:
        def judge(self, request, _response, *, cut=False):
            return Verdict("refusal" if request in refused else "compliance")

    monkeypatch.setattr(loaded, "judge", Judge())
    kept = [talk.prompt.text for talk in aligned_compliances(loaded, harmless)]
    assert kept == [prompt.text for prompt in harmless if prompt.text not in refused]
    refused |= {prompt.text for prompt in harmless}
    assert len(aligned_compliances(loaded, harmless)) == len(harmless)


def test_no_harmless_requests_is_said(opened):
    loaded, prompts, store = opened
    only = PromptSets({("safety", "harmful"): prompts.get("safety", "harmful")})
    with pytest.raises(DataError, match="no harmless safety requests"):
        fit_subspace(loaded, only, MEASUREMENT, store, kind="harmless")
