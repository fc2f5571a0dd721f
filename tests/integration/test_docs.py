"""The Python of README and docs runs as it stands, file by file, on the bundled organism."""

import re
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

HOME = Path(__file__).parents[2]
PAGES = [HOME / "README.md", *sorted((HOME / "docs").glob("*.md"))]
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(path: Path) -> list[str]:
    """Each block behind as many empty lines as it has lines above it: errors name the place."""
    text = path.read_text(encoding="utf-8")
    return ["\n" * text.count("\n", 0, m.start(1)) + m[1] for m in _BLOCK.finditer(text)]


WITH_CODE = [path for path in PAGES if blocks(path)]


def test_the_promised_pages_have_code():
    names = {path.name for path in WITH_CODE}
    assert names >= {"method.md", "metrics.md", "extending.md", "library.md"}


def test_links_between_pages_lead_somewhere():
    for path in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)", path.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (path.parent / target).exists(), f"{path.name}: {target}"


@pytest.mark.parametrize("path", WITH_CODE, ids=lambda path: path.name)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_the_code_runs(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRANSFORMERS_VERBOSITY", "error")
    names = {"__name__": f"code_of_{path.stem}"}
    for code in blocks(path):
        if "page_frame(" in code:
            _open_page(code, names["SPECTRA"], monkeypatch)
        else:
            exec(compile(code, str(path), "exec"), names)


def _open_page(code, spec, monkeypatch):
    """Open a page that is not listed on the shipped runs."""
    from cwac.registry import Registry
    from cwac.ui import frame

    listed = Registry("page", [*frame.PAGES.values(), spec])
    monkeypatch.setattr(frame, "PAGES", listed)
    monkeypatch.setattr(frame, "through_router", lambda: None)
    app = AppTest.from_string(code, default_timeout=60).run()
    assert not app.exception
    assert app.title[0].value.endswith(spec.title)
    assert len(app.dataframe) == 1
