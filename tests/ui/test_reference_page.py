"""The Reference page: methods as cards and table, glossary, limits, citation."""

from collections.abc import Callable
from pathlib import Path

import pytest
from reading import as_read
from store_builder import build_store
from streamlit.testing.v1 import AppTest

from cwac.artifacts import shipped_catalogue, tuned_settings
from cwac.cli.catalogue import catalogue
from cwac.messages import Catalogue, ModelEntry
from cwac.methods import METHODS
from cwac.ui import asking
from cwac.ui.glossary import GLOSSARY, SECTIONS
from cwac.ui.reference.citation import bibtex, read_citation
from cwac.ui.reference.formulas import FORMULAS
from cwac.ui.reference.methods import COST, NEEDS, differing, filtered, method_rows
from cwac.ui.reference.values import CARD, OnModel, values_of
from cwac.ui.reference.words import matching

HOME = Path(__file__).parents[2]
OpenPage = Callable[..., AppTest]


@pytest.fixture(scope="module")
def everything() -> Catalogue:
    return catalogue()


def test_every_method_has_its_row_as_declared(everything) -> None:
    rows = method_rows(everything.methods).set_index("Method")
    assert list(rows.index) == list(METHODS)
    for name, method in METHODS.items():
        row = rows.loc[name]
        assert row["Stage"] == method.stage
        assert row["Source"] == method.source
        assert row["Source"], "a method without a source cannot be checked"
        assert row[COST] == method.extra_passes
        assert row["Strength knob"] == (method.strength_knob or "none")
        assert all(NEEDS[need] in row["Needs"] for need in method.needs)
        if method.strength_knob:
            assert row["Default"] != "", "the knob is one of its settings"


def test_search_wants_every_word(everything) -> None:
    rows = method_rows(everything.methods)
    assert list(filtered(rows, "latents HARMFUL", None)["Method"])
    assert "sft" not in set(filtered(rows, "latents", None)["Method"])
    assert filtered(rows, "no-such-word", None).empty
    assert set(filtered(rows, "", "after training")["Stage"]) == {"after training"}


def test_defaults_that_a_models_card_sets_otherwise_are_named(everything) -> None:
    told = differing(everything.methods, everything.models)
    own = next(m for m in everything.models if m.name == "organism").defaults.methods
    assert len([line for line in told if "organism" in line]) == 1
    listed = {entry.name: entry.settings for entry in everything.methods}
    for name, settings in own.items():
        knob = METHODS[name].strength_knob
        if settings.get(knob, listed[name].get(knob)) == listed[name].get(knob):
            continue
        assert f"{METHODS[name].title} {knob} = {settings[knob]}" in told[0]
    assert not differing(everything.methods, [ModelEntry(name="plain")])


def test_page_shows_searches_and_exports(
    everything, tmp_path: Path, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "ask", lambda *_, **__: everything)
    app = open_page("reference/methods", tmp_path)
    assert not app.exception
    assert list(app.dataframe[0].value["Method"]) == list(METHODS)
    assert app.get("download_button")
    assert any(
        "the card of organism and of organism-b" in caption.value.replace("\\", "")
        for caption in app.caption
    )
    (first,) = [part for part in app.expander if part.label.startswith("**CWAC** ")]
    assert FORMULAS["cwac"] in first.latex[0].value
    assert "Source:" in first.markdown[1].value
    app.text_input(key="_methods").set_value("2604.12384").run()
    assert app.query_params["methods"] == "2604.12384", "the link keeps what is looked for"
    shown = list(app.dataframe[0].value["Method"])
    assert "cwac" in shown
    assert "lisa" not in shown
    app.text_input(key="_methods").set_value("nothing of the kind").run()
    assert not app.exception
    assert "No method matches" in app.info[0].value


def test_a_card_shows_what_is_used_on_the_model_in_view_and_who_chose_it(
    everything, tmp_path: Path, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "ask", lambda *_, **__: everything)
    arms = (("sft", {}), ("cwac", {}))
    build_store(tmp_path, arms=arms, seeds=(0,), experiments=(("instruct", 0.1),))
    app = open_page("reference/methods", tmp_path)
    (card,) = [part for part in app.expander if part.label.startswith("**CWAC** ")]
    said = as_read("\n".join(text.value for text in card.markdown)).replace("\u2060", "")
    assert "strength = 0.07 by the card of organism (default: 0.5)" in said
    assert "2 further passes per step" in said, "four times the harmful requests of the default"
    assert "| strength | 0.07 | model card | 0.5 | 0.5 |" in said
    assert "| harmful_batch | 32 | model card | 8 | not stated |" in said
    own = next(model for model in everything.models if model.name == "organism").defaults.methods
    model = OnModel("organism", own, tuned_settings("organism"))
    for entry in everything.methods:
        shown = {value.setting: value for value in values_of(entry, model)}
        for name, value in own.get(entry.name, {}).items():
            if value != entry.settings[name]:
                assert (shown[name].used, shown[name].chosen_by) == (str(value), CARD)
        assert set(entry.published) <= set(entry.settings), "a setting of the method"
    kl = next(entry for entry in everything.methods if entry.name == "kl_to_aligned")
    tuned = {value.setting: value.tuned for value in values_of(kl, model)}
    assert tuned == {"strength": "5.8", "harmful_batch": "32"}


def test_every_registered_method_has_its_formula() -> None:
    assert set(FORMULAS) == set(METHODS)


def test_glossary_is_searched_and_keeps_its_headings(tmp_path: Path, open_page: OpenPage) -> None:
    app = open_page("reference/glossary", tmp_path)
    assert not app.exception
    assert len(app.expander) == len(SECTIONS)
    app.text_input(key="_words").set_value("interval MODELS").run()
    assert app.query_params["words"] == "interval MODELS"
    assert [part.label for part in app.expander] == ["**Statistics** (1)"]
    assert list(matching("interval models").values()) == [
        {"across models": GLOSSARY["across models"]}
    ]


def test_citation_is_read_from_its_file_and_limits_from_theirs(
    tmp_path: Path, open_page: OpenPage
) -> None:
    text = (HOME / "CITATION.cff").read_text(encoding="utf-8")
    assert read_citation(text)["version"] in text
    app = open_page("reference/cite", tmp_path)
    assert app.code[0].value == bibtex(text)
    assert f"version = {{{read_citation(text)['version']}}}" in bibtex(text)
    assert "arXiv:2604.12384" in bibtex(text)
    limits = open_page("reference/limits", tmp_path)
    assert "about a million parameters" in limits.markdown[0].value
    assert "](" not in limits.markdown[0].value, "a page of the documentation is none of the app"
    assert "`docs/judging.md`" in limits.markdown[0].value


def test_page_says_why_when_the_lab_cannot_be_asked(
    tmp_path: Path, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise asking.AskingError("'cwac list' failed: <b>no torch</b>")

    monkeypatch.setattr(asking, "ask", fails)
    app = open_page("reference/methods", tmp_path)
    assert not app.text, "what ships has every method: nobody is asked"
    # A file beside those of the methods that ship is a method that joined since.
    (tmp_path / "sft.py").touch()
    (tmp_path / "joined.py").touch()
    monkeypatch.setattr(asking, "_PLUGINS", (tmp_path,))
    app.run()
    assert not app.exception
    assert "<b>no torch</b>" in app.text[0].value


def test_what_ships_is_true_until_a_model_has_another_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "ask", lambda *_, **__: "asked")
    assert asking.catalogue() == shipped_catalogue()
    monkeypatch.setattr(asking, "card_defaults", lambda _: {"training": {"steps": 7}})
    assert asking.catalogue() == "asked"


def test_what_ships_for_places_that_cannot_ask_is_what_the_lab_says(everything) -> None:
    """Else: ``cwac list all --json > cached_artifacts/catalogue.json``."""
    assert shipped_catalogue() == Catalogue.model_validate_json(everything.model_dump_json())
