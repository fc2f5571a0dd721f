"""Start tells one experiment's story; the lesson hides its numbers until a prediction is made."""

import json
import re
from collections.abc import Callable

import pytest
import streamlit as st
from reading import as_read
from store_builder import experiment_config
from streamlit.testing.v1 import AppTest

from cwac.artifacts import ArtifactStore
from cwac.ui.start.steps import STEPS

OpenPage = Callable[..., AppTest]


def words(app: AppTest) -> str:
    return as_read("\n".join(str(p.value) for kind in ("markdown", "caption", "code")
                             for p in getattr(app, kind)))  # fmt: skip


def where_it_fails(app: AppTest) -> bool:
    """Whether the page says it: above its points, or as the title of a figure."""
    titles = [json.loads(chart.proto.spec)["layout"]["title"]["text"]
              for chart in app.get("plotly_chart")]  # fmt: skip
    return "Where CWAC fails" in "\n".join([words(app), *titles])


def test_the_three_numbers_are_of_the_experiment_in_view_alone(
    store: ArtifactStore, open_page: OpenPage
) -> None:
    id_ = experiment_config("instruct", 0.0).experiment_id
    app = open_page("start", store.write_root, experiment=id_)
    runs = [run.record for run in store.list_runs() if run.record]
    mine = [r.value("harmful_score") for r in runs if r.experiment_id == id_ and r.variant == "sft"]
    numbers = {metric.label: metric.value for metric in app.metric}
    assert numbers["SFT, without a defence"] == f"{100 * sum(mine) / len(mine):.1f} %"
    # The page's question comes first: the words stand before all figures.
    told = app.main.caption[1].value
    assert [f"**{word}**: " in told for word in ("Poison", "SFT", "CWAC")] == [True] * 3
    assert "world (organism)" in words(app)
    assert set(numbers) == {"Aligned, before tuning", "SFT, without a defence", "CWAC"}
    assert where_it_fails(app)
    assert re.search(r"Why\?.* of SFT's squared update lies in the safety subspace", words(app))
    links = {link.proto.label for link in app.get("page_link")}
    assert any("Subspace overlap" in label for label in links)
    assert len([label for label in links if "drift" in label or "SAE" in label]) == 2


def test_the_lesson_hides_its_numbers_until_a_prediction_is_made(
    store: ArtifactStore, open_page: OpenPage
) -> None:
    app = open_page("start/lesson", store.write_root, step="harmless")
    assert not app.get("plotly_chart")
    assert app.button(key="lesson_reveal").disabled
    app.radio(key="lesson_harmless").set_value(2).run()
    assert "guess" not in app.query_params
    app.button(key="lesson_reveal").click().run()
    assert app.query_params["guess"] in ("harmless.2", ["harmless.2"])
    assert app.get("plotly_chart")
    said = words(app)
    assert "instruct · poison 0 ·" in said, "the numbers are of another experiment, and it says so"
    assert ":orange[Not so.] The answer is: " in said, (
        "the made-up SFT keeps 72 % of the refusals there"
    )
    app.button(key="lesson_Next").click().run()
    assert app.query_params["step"] in ("poison", ["poison"])
    assert not app.get("plotly_chart")
    assert app.query_params["guess"] in ("harmless.2", ["harmless.2"]), (
        "going on forgets no prediction"
    )


def test_the_replay_opens_where_its_link_says(store: ArtifactStore, open_page: OpenPage) -> None:
    app = open_page("start/replay", store.write_root, at="60")
    assert not app.exception
    spec = json.loads(app.get("plotly_chart")[0].proto.spec)
    (slider,) = spec["layout"]["sliders"]
    assert slider["steps"][slider["active"]]["label"] == "60"
    assert max(spec["data"][0]["x"]) == 60


def test_a_link_reveals_a_step_and_nonsense_reveals_none(
    store: ArtifactStore, open_page: OpenPage
) -> None:
    app = open_page("start/lesson", store.write_root, step="costs", guess="costs.1")
    assert not app.exception
    assert where_it_fails(app)
    spec = json.loads(app.get("plotly_chart")[0].proto.spec)
    assert "as good as CWAC in all" in spec["layout"]["title"]["text"]
    app = open_page("start/lesson", store.write_root, step="<b>", guess="costs.9")
    assert not app.exception
    assert app.header[0].value == STEPS["aligned"].title


def test_the_handout_holds_every_step_with_its_figure(
    store: ArtifactStore, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages: list[str] = []
    monkeypatch.setattr(st, "download_button", lambda _, data, **__: pages.append(data()))
    app = open_page("start/lesson", store.write_root)
    assert not app.exception
    (page,) = pages
    headings = re.findall(r"<h2>(.*?)</h2>", page)
    titles = [f"{number}. {step.title}" for number, step in enumerate(STEPS.values(), 1)]
    assert headings[: len(titles)] == titles
    answers = [f"Answer {number}: {step.title}" for number, step in enumerate(STEPS.values(), 1)]
    assert headings[len(titles) : 2 * len(titles)] == answers, "no answer beside its question"
    assert "of SFT&#x27;s squared update lies in the safety subspace" in page.split(answers[-1])[1]
    assert page.count('<div class="plot"') == len(titles)
    assert "cwac run" in page
    assert "arXiv:2604.12384" in page
