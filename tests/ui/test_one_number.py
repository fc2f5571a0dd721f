"""One number has one interval, and a caption promises the seeds that the data hold."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from store_builder import ARMS, build_store, experiment_config
from streamlit.testing.v1 import AppTest

OpenPage = Callable[..., AppTest]
MEANS = "Points are means over seeds"


def captions(app: AppTest) -> list[str]:
    return [str(part.value) for part in app.caption]


@pytest.mark.parametrize(
    "page", ["mechanism/drift", "mechanism/overlap", "features", "requests/one"]
)
def test_a_figure_of_one_seed_says_so(page: str, tmp_path: Path, open_page: OpenPage) -> None:
    build_store(tmp_path, seeds=(0,), experiments=(("instruct", 0.1),))
    said = captions(open_page(page, tmp_path))
    assert any("Seed 0 alone" in text for text in said)
    assert not any(MEANS in text for text in said)


def test_figures_of_two_seeds_say_which(tmp_path: Path, open_page: OpenPage) -> None:
    build_store(tmp_path, seeds=(0, 3), experiments=(("instruct", 0.1),))
    said = captions(open_page("mechanism/drift", tmp_path))
    assert any(f"Seeds 0 and 3. {MEANS}" in text for text in said)


def test_the_lead_and_the_table_give_one_interval(tmp_path: Path, open_page: OpenPage) -> None:
    # Four arms stand in the table, SFT alone in the lead.
    build_store(tmp_path, arms=ARMS, seeds=(0, 1, 2), experiments=(("instruct", 0.0),))
    config = experiment_config("instruct", 0.0)
    app = open_page("start", tmp_path, experiment=config.experiment_id)
    assert not app.exception
    lead = next(str(part.value) for part in app.markdown if "On harmless data" in str(part.value))
    text = lead.replace("\\", "").replace("\u00a0", " ")
    stated = re.findall(
        r"SFT refuses \d+ % \[(\d+), (\d+)\].*?complies with \d+ % \[(\d+), (\d+)\]", text
    )
    ((low, high, low_harm, high_harm),) = stated
    row = app.dataframe[0].value.set_index("Arm").loc["SFT"]
    assert row["Refusal rate"].endswith(f"[{low}, {high}]")
    assert row["Harmful score"].endswith(f"[{low_harm}, {high_harm}]")
