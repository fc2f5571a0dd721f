"""Views that a reader saved are kept by name, and a damaged file is left as it is."""

from pathlib import Path

import pytest

from cwac.artifacts import read_notes
from cwac.artifacts.views import LONGEST_NAME, VIEWS, delete_view, read_views, save_view
from cwac.errors import ArtifactError

LINK = {"filters": ["task=instruct", "poison=0.1"], "rows": ["every run"]}


def test_views_come_back_by_name_and_are_no_notes(tmp_path: Path) -> None:
    assert read_views(tmp_path) == {}
    save_view(tmp_path, "all of *instruct*", LINK)
    save_view(tmp_path, "β", {"baseline": ["x"]})
    save_view(tmp_path, "β", {"baseline": ["y"]})
    assert read_views(tmp_path) == {"all of *instruct*": LINK, "β": {"baseline": ["y"]}}
    assert read_notes(tmp_path) == {}
    delete_view(tmp_path, "β")
    delete_view(tmp_path, "never there")
    assert list(read_views(tmp_path)) == ["all of *instruct*"]


@pytest.mark.parametrize("name", ["", "x" * (LONGEST_NAME + 1), "\ud800"])
def test_names_are_short_texts(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArtifactError, match=f"1 to {LONGEST_NAME} characters"):
        save_view(tmp_path, name, LINK)


def test_there_is_an_end_to_them(tmp_path: Path) -> None:
    for number in range(VIEWS):
        save_view(tmp_path, str(number), {})
    save_view(tmp_path, "0", LINK)
    with pytest.raises(ArtifactError, match="at most"):
        save_view(tmp_path, "one more", {})


@pytest.mark.parametrize("content", ["{", "[]", '{"a": 1}', '{"a": {"rows": 2}}'])
def test_a_damaged_file_is_told_and_left(tmp_path: Path, content: str) -> None:
    (tmp_path / ".notes").mkdir()
    path = tmp_path / ".notes" / ".views.json"
    path.write_text(content)
    for act in (lambda: read_views(tmp_path), lambda: save_view(tmp_path, "a", LINK)):
        with pytest.raises(ArtifactError, match="cannot be read"):
            act()
    assert path.read_text() == content
