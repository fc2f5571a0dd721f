from pathlib import Path

import pytest

import cwac
from cwac.artifacts import checkout, shipped_folder, shipped_runs
from cwac.errors import ModelError
from cwac.models.folders import artifacts_folder
from cwac.ui import asking, reads

HOME = Path(__file__).parents[2]


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A package as a wheel leaves it: what ships lies inside of it."""
    package = tmp_path / "site-packages" / "cwac"
    (package / "_shipped" / "cached_artifacts" / "runs").mkdir(parents=True)
    monkeypatch.setattr(cwac, "__file__", str(package / "__init__.py"))
    monkeypatch.delenv("CWAC_ROOTS", raising=False)
    return package


def test_a_checkout_is_read_where_it_lies(monkeypatch):
    monkeypatch.delenv("CWAC_ROOTS", raising=False)
    assert checkout() == shipped_folder() == HOME
    assert shipped_runs() == HOME / "cached_artifacts" / "runs"
    assert artifacts_folder() == HOME / "cached_artifacts"
    assert reads.roots() == (str(HOME / "runs"), str(HOME / "cached_artifacts" / "runs"))
    assert asking.child_environment()["PYTHONPATH"].startswith(str(HOME))


def test_an_installed_package_reads_inside_itself(installed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    inside = installed / "_shipped"
    assert checkout() is None
    assert shipped_folder() == inside
    assert shipped_runs() == inside / "cached_artifacts" / "runs"
    # A user's runs never go into the environment's packages.
    assert reads.roots() == (str(tmp_path / "runs"), str(inside / "cached_artifacts" / "runs"))
    # On the path of a child, other packages would hide the standard library's modules.
    assert "PYTHONPATH" not in asking.child_environment()


def test_artifacts_that_are_missing_are_said_to_be(installed):
    (installed / "_shipped" / "cached_artifacts" / "runs").rmdir()
    (installed / "_shipped" / "cached_artifacts").rmdir()
    assert shipped_runs() is None
    with pytest.raises(ModelError, match="install the lab again"):
        artifacts_folder()
