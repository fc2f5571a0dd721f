"""The list of runs: filters, groups, baseline, marks, deletion asked once and undone, notes."""

from collections.abc import Callable

import pandas as pd
import pytest
from reading import as_read, runs_table
from streamlit.testing.v1 import AppTest

from cwac.artifacts import ArtifactStore, Note, read_notes, save_note, trash_runs, trashed
from cwac.artifacts.views import read_views, save_view
from cwac.rates import RATES
from cwac.ui.experiments import listing
from cwac.ui.runs import listing as run_list
from cwac.ui.runs.chosen import numbers
from cwac.ui.runs.listing import TITLES, run_rows, text_rows
from cwac.ui.runs.views import CHANGE, IDS, against, filtered, grouped, keys_of, options

OpenPage = Callable[..., AppTest]
HARM = RATES["harmful_score"].title


@pytest.fixture
def table(store: ArtifactStore, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    monkeypatch.setenv("CWAC_ROOTS", str(store.write_root))
    first = store.list_runs()[0].run_id
    return run_rows(listing(), {first: Note("look", ("good", "odd"))})


@pytest.fixture
def marks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The marked runs: a test cannot click in the list."""
    marked: list[str] = []
    monkeypatch.setattr(run_list, "show_list", lambda _table: list(marked))
    return marked


def said(app: AppTest) -> str:
    kinds = ("warning", "info", "error", "caption", "subheader")
    return as_read(" ".join(str(part.value) for kind in kinds for part in getattr(app, kind)))


def test_values_of_one_filter_are_alternatives_and_filters_add_up(table: pd.DataFrame) -> None:
    assert options(table, "Poison") == ["0.1", "0"] or options(table, "Poison") == ["0", "0.1"]
    assert len(filtered(table, ["poison=0.1"])) == len(table) // 2
    both = filtered(table, ["method=SFT", "method=CWAC", "poison=0.1"])
    assert set(both["Method"]) == {"SFT", "CWAC"}
    assert set(both["Poison"]) == {0.1}
    assert filtered(table, ["tag=good"])["Note"].tolist() == ["look"]
    assert len(filtered(table, ["nonsense=1"])) == len(table)


def test_a_row_a_method_has_the_mean_of_its_runs(table: pd.DataFrame) -> None:
    rows = grouped(table, TITLES)
    assert len(rows) == len(table) // 2, "two seeds"
    row = rows[(rows["Arm"] == "SFT") & (rows["Poison"] == 0.1)].iloc[0]
    mine = table[(table["Arm"] == "SFT") & (table["Poison"] == 0.1)]
    assert row[HARM] == pytest.approx(mine[HARM].mean())
    assert (row["Runs"], row["Seeds"]) == (2, "0, 1")
    assert row[IDS] == tuple(mine["Run"])


def test_rows_are_held_against_the_baseline_in_points(table: pd.DataFrame) -> None:
    rows = grouped(table, TITLES)
    key = next(key for key, name in keys_of(rows).items() if name.startswith("SFT"))
    changed = against(rows, TITLES, key)
    sft = changed.iloc[list(keys_of(rows)).index(key)]
    assert sft[f"{CHANGE}{HARM}"] == 0
    other = changed.iloc[-1]
    assert other[f"{CHANGE}{HARM}"] == pytest.approx(100 * (other[HARM] - sft[HARM]))
    assert list(against(rows, TITLES, "nowhere")) == list(rows)


def test_the_list_is_given_away_as_it_is_shown(table: pd.DataFrame) -> None:
    rows = against(grouped(table, TITLES), TITLES, None)
    text = text_rows(rows)
    assert not [name for name in text if name.startswith("_")], "hidden columns stay hidden"
    assert "Runs" not in text, "one of each seed: the seeds say it"
    assert "Runs" in text_rows(rows.assign(Runs=3))
    first = rows.iloc[0]
    assert text.iloc[0][HARM] == f"{100 * first[HARM]:.1f}\u00a0%"
    control = text[text["Arm"] == "CWAC (random directions)"]
    assert len(control)
    # Links name arms by their settings, as they did before titles were words.
    keys = [key for key in keys_of(rows) if key.endswith("/CWAC (subspace=random)")]
    assert len(keys) == len(control)
    changed = text_rows(against(grouped(table, TITLES), TITLES, keys[0]))
    assert list(changed)[list(changed).index(HARM) + 1] == f"{HARM}, difference (points)"


def test_any_number_of_runs_stand_side_by_side(store: ArtifactStore) -> None:
    records = [run.record for run in store.list_runs() if run.record][:3]
    shown = numbers(records)
    assert list(shown) == ["Number", *(record.run_id for record in records)]
    assert "[" in shown.set_index("Number").loc[HARM, records[0].run_id]


def test_the_link_keeps_filters_rows_and_baseline(
    store: ArtifactStore, open_page: OpenPage
) -> None:
    app = open_page("runs/stored", store.write_root, filters="poison=0.1", rows="every run")
    assert not app.exception
    assert set(runs_table(app).value["Poison"]) == {0.1}
    key = runs_table(app).value["Run"].iloc[0]
    app = open_page("runs/stored", store.write_root, rows="every run", baseline=key)
    rows = runs_table(app).value.set_index("Run")
    assert rows.loc[key, f"{CHANGE}{HARM}"] == 0
    assert "`cwac compare` tests them" in said(app)
    runs = runs_table(app).value["Run"].iloc[1:3].tolist()
    app = open_page("runs/stored", store.write_root, rows="every run", marked=runs)
    assert "2 runs marked" in [heading.value for heading in app.subheader]
    app.text_input(key=f"note_{runs[0]}")


def test_deletion_is_asked_once_for_each_choice_and_can_be_undone(
    own_store: ArtifactStore, open_page: OpenPage, marks: list[str]
) -> None:
    first, second, *_ = before = [run.run_id for run in own_store.list_runs()]
    marks[:] = [first]
    app = open_page("runs/stored", own_store.write_root)
    app.button(key="runs_delete").click().run()
    assert f"Delete {first}?" in said(app)
    # Another choice is not the one that was asked about.
    marks[:] = [second]
    app.run()
    assert "Delete " not in said(app)
    marks[:] = [first]
    app.run()
    assert "Delete " not in said(app)
    app.button(key="runs_delete").click().run()
    app.button(key="runs_delete_now").click().run()
    assert not (own_store.write_root / first).exists()
    # The next run is marked, as by the place that the deleted one had: nothing is open.
    marks[:] = [second]
    app.run()
    assert "runs_delete_now" not in [button.key for button in app.button]
    assert f"Deleted: {first}." in said(app)
    app.button(key="runs_undo").click().run()
    assert not app.exception
    assert [run.run_id for run in own_store.list_runs()] == before
    assert trashed(own_store.write_root) == []


def test_marks_of_one_list_are_none_of_the_next(
    own_store: ArtifactStore, open_page: OpenPage
) -> None:
    app = open_page("runs/stored", own_store.write_root, rows="every run")
    key = runs_table(app).key
    trash_runs(own_store, [own_store.list_runs()[0].run_id])
    app.run()
    assert runs_table(app).key != key


def test_shipped_runs_stay_and_can_have_notes(
    store: ArtifactStore, tmp_path, open_page: OpenPage, marks: list[str]
) -> None:
    own = tmp_path / "own"
    first, second, *_ = (run.run_id for run in store.list_runs())
    save_note(own, second, Note(tags=("odd",)))
    marks[:] = [first]
    app = open_page("runs/stored", own, store.write_root)
    assert "Shipped runs stay." in said(app)
    app.text_input(key=f"note_{first}").set_value("a *good* one").run()
    assert not app.exception
    assert read_notes(own) == {first: Note("a *good* one"), second: Note(tags=("odd",))}
    assert not (store.write_root / ".notes").exists()


def test_a_saved_view_is_a_link_with_its_filters(
    own_store: ArtifactStore, open_page: OpenPage
) -> None:
    link = {"filters": ["task=instruct"], "rows": ["every run"], "theme": ["dark"]}
    save_view(own_store.write_root, "a *view*", link)
    app = open_page("runs/stored", own_store.write_root)
    (saved,) = (e for e in app.get("page_link") if e.proto.label == r"a \*view\*")
    assert saved.proto.query_string == "filters=task%3Dinstruct&rows=every+run"
    app.text_input(key="_view_name").set_value("mine").run()
    assert not app.exception
    assert list(read_views(own_store.write_root)) == ["a *view*", "mine"]
    app.button(key="forget_view_mine").click().run()
    assert list(read_views(own_store.write_root)) == ["a *view*"]
