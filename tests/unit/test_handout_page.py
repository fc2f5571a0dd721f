"""A hand-out is one file: it loads nothing, runs no text, and shows what it was given."""

from html.parser import HTMLParser

import pandas as pd
import plotly.graph_objects as go

from cwac.handout import Handout, Section, render

HOSTILE = "</script><img src=http://evil.example/x onerror=alert(1)>"


class Page(HTMLParser):
    """Tags with their attributes, and the text outside of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.scripts: list[str] = []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in {"script", "style"}:
            self._inside = tag

    def handle_endtag(self, tag):
        if tag == self._inside:
            self._inside = ""

    def handle_data(self, data):
        if self._inside == "script":
            self.scripts.append(data)
        elif not self._inside:
            self.text += data


def hostile_handout() -> Handout:
    figure = go.Figure(go.Bar(x=[HOSTILE], y=[1.0], name=HOSTILE))
    table = pd.DataFrame({HOSTILE: [HOSTILE], "share": [None], "n": [3]})
    section = Section(HOSTILE, HOSTILE, figure, HOSTILE, table, [HOSTILE], HOSTILE)
    return Handout(HOSTILE, HOSTILE, [section, Section("Second", figure=figure)], HOSTILE)


def test_text_from_elsewhere_stays_text():
    page = Page(render(hostile_handout()))
    tags = [tag for tag, _ in page.tags]
    assert "img" not in tags
    # Title of window, heading, lead, section, text, reading, head, cell, point, code, foot.
    assert page.text.count(HOSTILE) == 11
    assert all("</script" not in script for script in page.scripts)


def test_nothing_is_loaded_and_the_script_is_there_once():
    text = render(hostile_handout())
    page = Page(text)
    for tag, attributes in page.tags:
        assert tag not in {"link", "iframe", "object", "embed", "base"}
        assert not {"src", "href", "srcset", "action"} & set(attributes)
    assert text.count("plotly.js v") == 1
    policy = next(a["content"] for t, a in page.tags if a.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert [a["id"] for t, a in page.tags if (a.get("id") or "").startswith("figure-")] == [
        "figure-0",
        "figure-1",
    ]


def test_missing_cells_read_not_measured_and_figures_are_copied():
    figure = go.Figure(go.Bar(x=["a"], y=[1.0]))
    before = figure.to_json()
    table = pd.DataFrame({"Arm": ["SFT", "CWAC"], "share": [0.123456, float("nan")]})
    page = Page(render(Handout("T", "One.\n\nTwo.", [Section("S", figure=figure, table=table)])))
    assert figure.to_json() == before
    assert "0.1235" in page.text
    assert page.text.count("not measured") == 1
    assert [tag for tag, _ in page.tags].count("p") == 2
    assert ("td", {"class": "number"}) in page.tags


def test_without_figures_there_is_no_script():
    page = Page(render(Handout("T", "Lead.", [Section("S", code="cwac run", points=["one"])])))
    assert "script" not in [tag for tag, _ in page.tags]
    assert "footer" not in [tag for tag, _ in page.tags]
