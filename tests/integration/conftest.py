"""A tiny aligned model and a root with two stored arms, made once for all tests that read them."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from folders import write_model_folder

from cwac.preparation import latents


@pytest.fixture(scope="session", autouse=True)
def umap_limit() -> Iterator[int]:
    """Fit no UMAP map, which numba compiles for 20 s in each process; give the lab's own limit.

    The tests that are about these maps set it again.
    """
    limit = latents.MIN_FOR_UMAP
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(latents, "MIN_FOR_UMAP", 10**9)
        yield limit


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory) -> Path:
    return write_model_folder(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory, tiny_folder) -> Path:
    """SFT and CWAC, seed 0, with their weights; the fits lie beside them. Do not write here."""
    from cwac.artifacts import ArtifactStore
    from cwac.runner import resolve, run_grid

    root = tmp_path_factory.mktemp("runs")
    configs = resolve({"model": str(tiny_folder)}, ["sft", "cwac"], [0])
    result = run_grid(configs, ArtifactStore(root), keep_model=True)
    assert result.failed == {}
    assert len(result.records) == 2
    return root


@pytest.fixture
def fitted_root(tiny_root, tmp_path) -> Path:
    """An own root that has the fits already, and no runs."""
    root = tmp_path / "runs"
    shutil.copytree(tiny_root / "fits", root / "fits")
    return root


@pytest.fixture
def own_root(tiny_root, tmp_path) -> Path:
    """A copy of the stored arms to write to."""
    return Path(shutil.copytree(tiny_root, tmp_path / "runs"))
