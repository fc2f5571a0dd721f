"""Whatever happened to a store or happens while it is read: pages open, say what they leave out."""

import random
import shutil
from pathlib import Path

import pytest
from damages import damage, vanishing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_builder import build_store
from streamlit.testing.v1 import AppTest

from cwac.artifacts import ArtifactStore
from cwac.ui.navigation import PAGES, places

APP = Path(__file__).parents[2] / "app.py"
SMALL = {"harmful": 24, "harmless": 12, "lookalike": 12, "task": 12}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> ArtifactStore:
    root = tmp_path_factory.mktemp("sound")
    return build_store(root, arms=(("sft", {}), ("cwac", {})), seeds=(0, 1), kinds=SMALL)


def opened(place: str) -> AppTest:
    name, _, tab = place.partition("/")
    app = AppTest.from_file(str(APP), default_timeout=120)
    if tab:
        app.query_params["tab"] = tab
    return (app if name == next(iter(PAGES)) else app.switch_page(PAGES[name].path)).run()


@settings(
    max_examples=2, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(seed=st.integers(0, 2**32))
def test_every_page_survives(
    sound: ArtifactStore, tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    root = tmp_path_factory.mktemp("damaged") / "root"
    shutil.copytree(sound.write_root, root)
    draw = random.Random(seed)
    done = [damage(root, draw) for _ in range(5)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CWAC_ROOTS", str(root))
        # Each example opens some of the places; together they open most of them.
        for page in draw.sample(places(), 10):
            with vanishing(root, draw.randint(1, 300), draw.choice((0, 0, 1))) as gone:
                app = opened(page)
            done += [f"vanished {path}" for path in gone]
            problems = [f"{e.message}\n{''.join(e.stack_trace)[-1500:]}" for e in app.exception]
            assert not problems, (page, done, *problems)
