"""What stands around the code: the citation, the documentation's site, the workflow."""

import re

import pytest
import yaml

import cwac
from cwac.artifacts import shipped_folder

ROOT = shipped_folder()


def test_the_citation_names_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == cwac.__version__
    assert "2604.12384" in citation["references"][0]["notes"]


def test_every_page_of_the_documentation_stands_in_the_site():
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    listed = set(re.findall(r"[\w/-]+\.md", str(nav)))
    assert listed == {str(p.relative_to(ROOT / "docs")) for p in (ROOT / "docs").rglob("*.md")}


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda p: p.name)
def test_every_link_between_pages_leads_to_a_file(page):
    for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in link:
            assert (page.parent / link).exists(), link


def test_the_workflow_runs_what_everybody_runs():
    steps = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]["check"][
        "steps"
    ]
    assert "bash .ci/run" in [step.get("run") for step in steps]
