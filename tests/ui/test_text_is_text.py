"""What models, users and files say is shown as text: no markdown, no link, no tag, no picture."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hostile_store import EVIL, hostile_store
from streamlit.testing.v1 import AppTest

from cwac.artifacts import ArtifactStore, shipped_catalogue
from cwac.ui import asking
from cwac.ui.navigation import places
from cwac.ui.widgets import plain

pytestmark = pytest.mark.usefixtures("unfolded")
# Where Streamlit reads markdown; it does not in text, code, lists of options and tables.
MARKDOWN = ("title", "header", "subheader", "markdown", "caption", "info", "warning", "error",
            "success")  # fmt: skip
LABELLED = ("button", "toggle", "checkbox", "selectbox", "multiselect", "text_input", "text_area",
            "slider", "button_group", "metric", "tabs", "expander", "number_input")  # fmt: skip
MARK = re.compile(
    r"(?<!\\)(?:\]\(http|<(?:a|b|img)\b|\*\*b|\$x|:red|:material/home)|http\\?://evil|www\.evil"
)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> ArtifactStore:
    return hostile_store(tmp_path_factory.mktemp("hostile"))


def read_as_markdown(app: AppTest) -> Iterator[str]:
    for kind in MARKDOWN:
        yield from (str(part.value) for part in app.get(kind))
    for kind in LABELLED:
        for part in app.get(kind):
            yield str(part.label)
            yield str(getattr(part, "help", "") or "")
            if kind == "button_group":
                yield from map(str, part.options)


def texts_of(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Every text in a figure that plotly reads tags in: not what points carry for a click alone."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key not in {"customdata", "ids", "bdata", "legendgroup"}:
                yield from texts_of(inner, f"{place}.{key}")
        yield from hovered(value, place)
    elif isinstance(value, list):
        for inner in value:
            yield from texts_of(inner, place)
    elif isinstance(value, str):
        yield place, value


def hovered(trace: dict[str, Any], place: str) -> Iterator[tuple[str, str]]:
    """What points carry and a template shows: all of it, or the parts that it numbers."""
    templates = " ".join(str(trace.get(f"{kind}template", "")) for kind in ("hover", "text"))
    shown = re.findall(r"customdata(?:\[(\d+)\])?", templates)
    layer = [trace.get("customdata")] if shown else []
    while layer:
        part = layer.pop()
        if isinstance(part, list) and part and not isinstance(part[0], list) and "" not in shown:
            part = [part[int(number)] for number in shown if int(number) < len(part)]
        if isinstance(part, list):
            layer += part
        elif isinstance(part, str):
            yield f"{place}.customdata", part


def test_what_points_carry_is_seen_where_a_template_shows_it() -> None:
    points = {"customdata": [["<b>t</b>", 3, "x"]], "hovertemplate": "%{customdata[0]}"}
    assert [text for _, text in texts_of(points) if text != "%{customdata[0]}"] == ["<b>t</b>"]
    whole = {"customdata": ["a"], "hovertemplate": "%{customdata}"}
    assert [text for _, text in texts_of(whole)][1:] == ["a"]
    assert not list(texts_of({"customdata": ["a"]}))


def test_plain_text_keeps_every_character_that_is_seen() -> None:
    shown = re.sub(r"\\([\\`*_\[\]#|$~:<>&])", r"\1", plain(EVIL)).replace("\u2060", "")
    assert shown == EVIL
    assert not MARK.search(plain(EVIL))


@pytest.mark.parametrize(
    "text", ["- a", "1. a", "# a", "a\n\n# b", "a\n- b", "+ a", "=\n==", "> a"]
)
def test_no_text_makes_a_block(text: str) -> None:
    assert "\n" not in plain(text)
    assert not re.match(r"[-+=#>]|\d+[.)]", plain(text))


@pytest.mark.parametrize("name", places())
def test_hostile_text_is_text_on_every_page(
    name: str, hostile: ArtifactStore, open_page: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What the command line says of itself is the lab's own text, and a process a page is slow.
    monkeypatch.setattr(asking, "catalogue", shipped_catalogue)
    app = open_page(name, hostile.write_root, experiment="x" + EVIL, seed="9" * 5000)
    assert not app.exception
    if name == "results/attacks":
        assert len(app.get("plotly_chart")) == 2, "nobody attacked otherwise"
        assert any("broke the model" in part.value for part in app.caption)
    assert not [text for text in read_as_markdown(app) if MARK.search(text)]
    charts = {chart.proto.id: json.loads(chart.proto.spec) for chart in app.get("plotly_chart")}
    tags = {
        (key, place)
        for key, spec in charts.items()
        for place, text in texts_of(spec)
        if re.search(r"<(a |img|b>t)|%\{evil", text)
    }
    assert not tags


def test_a_number_without_end_in_a_link_is_left_out(hostile: ArtifactStore, open_page: Any) -> None:
    endless = {"seed": "9" * 5000, "layer": "1" * 5000, "latent": "9" * 19}
    app = open_page("features", hostile.write_root, **endless)
    assert not app.exception
    assert not {"seed", "layer"} & {k for k, v in app.query_params.items() if len(str(v)) > 99}
