"""What the reader has selected, shared by all pages and kept in the link.

The values live under one key of the session state, because widget state is lost on a page
switch, and are mirrored to the query string, so that a copied link shows the same thing. One does
not travel: who is sent a link decides for themselves whether to see answers to harmful requests.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import streamlit as st

from cwac.ui.navigation import MOVED_TABS

_STATE: Final = "selection"
_WRITTEN: Final = "selection_in_link"


@dataclass(frozen=True)
class Selection:
    """One selection; None means that the page chooses.

    Attributes
    ----------
    experiment : str or None
        The experiment in view.
    overlay : tuple of str
        Further experiments compared with it.
    arms : tuple of str
        Labels of the arms in view; empty means those to look at first.
    seed : int or None
        The seed that single-run views show; None is the first.
    arm, map, prompt : str or None
        Arm label, linear map, prompt id.
    layer, latent : int or None
        Decoder layer, SAE latent.
    sae_layer : int or None
        The layer of `latent`, so that another choice of `layer` does not make it another latent;
        None is `layer`.
    tab, view : str or None
        The open tab of the page, and what is open on the tab; None is the first.
    unfolded : tuple of str
        The keys of folded parts that were opened, on any page; with a minus, of those that were
        open and are folded.
    kind, flip, search, outcome, course : str or None
        Of the test requests: their kind, how their answers changed, a text in them; the outcome
        whose rates are shown, the quantity followed along training.
    categories, judges : tuple of str
        Harm categories and judges; empty means all.
    role, token : str or None
        Of the latents: protected or not, a text among their tokens.
    pair : tuple of str
        The two arms that read a request beside the aligned model; empty is SFT and CWAC.
    intervention, dose, line : str or None
        Of the Mechanism page: the intervention that is drawn, the point of its path, and which
        path that is.
    part : str or None
        The part of the model that a slider of that page puts back.
    figure, variants, quantity, scale, side : str or None
        Of the Mechanism page: the drift figure held against harm, over which variants, the
        quantity that is mapped, whether as a difference, and the side of a map.
    filters : tuple of str
        Of the Runs page: what is listed, as ``task=instruct``; values of one name are alternatives.
    rows, baseline : str or None
        Of the Runs page: whether a row is a method or a run, and the row that others are held
        against.
    marked : tuple of str
        Of the Runs page: the runs that are marked in the list.
    job : str or None
        The job that is watched; None is what works now, else what was started last.
    method : str or None
        The method whose settings are compared.
    projection : str or None
        How decoder directions are laid out on their map.
    methods, stage, words : str or None
        Of the Reference page: texts that are looked for among methods and among the lab's words,
        and the stage of the methods listed.
    target : int or None
        The task accuracy, or the other cost, that methods are compared at, in per cent.
    cost : str or None
        The rate that harm is held against.
    all_settings : bool
        Whether methods at other settings than their defaults are drawn.
    rate : str or None
        The rate that is set beside the paper's.
    step : str or None
        The step of the lesson; None is its first.
    probe : str or None
        The request whose answers along training are replayed.
    at : int or None
        The step of training that the replay stands at; None is its first.
    guess : tuple of str
        Predictions made in the lesson, ``step.option``: their steps are revealed.
    theme : str or None
        ``light`` or ``dark``; None is the system's.
    presenter : bool
        Whether everything is larger, without a sidebar.
    slide : str or None
        The key of the figure that fills the screen alone, where the page draws it.
    reveal : bool
        Whether answers to harmful requests are shown; hidden by default, and never in a link.
    """

    experiment: str | None = None
    overlay: tuple[str, ...] = ()
    arms: tuple[str, ...] = ()
    seed: int | None = None
    arm: str | None = None
    layer: int | None = None
    map: str | None = None
    latent: int | None = None
    prompt: str | None = None
    sae_layer: int | None = None
    tab: str | None = None
    view: str | None = None
    unfolded: tuple[str, ...] = ()
    kind: str | None = None
    flip: str | None = None
    search: str | None = None
    categories: tuple[str, ...] = ()
    outcome: str | None = None
    course: str | None = None
    judges: tuple[str, ...] = ()
    role: str | None = None
    token: str | None = None
    pair: tuple[str, ...] = ()
    intervention: str | None = None
    dose: str | None = None
    line: str | None = None
    part: str | None = None
    figure: str | None = None
    variants: str | None = None
    quantity: str | None = None
    scale: str | None = None
    side: str | None = None
    filters: tuple[str, ...] = ()
    rows: str | None = None
    baseline: str | None = None
    marked: tuple[str, ...] = ()
    job: str | None = None
    method: str | None = None
    projection: str | None = None
    methods: str | None = None
    stage: str | None = None
    words: str | None = None
    target: int | None = None
    cost: str | None = None
    all_settings: bool = False
    rate: str | None = None
    step: str | None = None
    probe: str | None = None
    at: int | None = None
    guess: tuple[str, ...] = ()
    theme: str | None = None
    presenter: bool = False
    slide: str | None = None
    reveal: bool = False


_INTEGERS: Final = frozenset({"seed", "layer", "latent", "sae_layer", "target", "at"})
_DIGITS: Final = 18
"""Of a number in a link, at most: what fits into 64 bits."""
_SEVERAL: Final = frozenset(
    {"overlay", "arms", "unfolded", "categories", "judges", "pair", "filters", "marked", "guess"}
)
_SWITCHES: Final = frozenset({"all_settings", "presenter"})
_OWN: Final = "reveal"
"""Stays in the session: a link neither says it nor is obeyed in it."""


def current() -> Selection:
    """Return the selection of this session."""
    stored = st.session_state.get(_STATE)
    return stored if isinstance(stored, Selection) else Selection()


def coming() -> Selection:
    """Return what the selection will be once the link is taken over; changes nothing."""
    link = _link()
    return _parse(link) if link and link != st.session_state.get(_WRITTEN) else current()


def select(**changes: Any) -> None:
    """Change fields of the selection, here and in the link."""
    st.session_state[_STATE] = replace(current(), **changes)
    _write_link()


def adopt_link() -> None:
    """Take over what the link says; keep the selection where a page switch emptied the link."""
    link = _link()
    if link and link != st.session_state.get(_WRITTEN):
        st.session_state[_STATE] = replace(_parse(link), reveal=current().reveal)
    _write_link()


def _link() -> dict[str, list[str]]:
    known = asdict(Selection()).keys() - {_OWN}
    return {name: st.query_params.get_all(name) for name in st.query_params if name in known}


def _parse(link: dict[str, list[str]]) -> Selection:
    values: dict[str, Any] = {}
    for name, texts in link.items():
        if name in _INTEGERS:
            # A mistyped or endless number in a link is no reason to refuse the page.
            text = texts[-1] if len(texts[-1]) <= _DIGITS else ""
            values |= {name: int(text)} if text.isdecimal() else {}
        elif name in _SEVERAL:
            values[name] = tuple(texts)
        elif name in _SWITCHES:
            values[name] = texts[-1] == "1"
        else:
            values[name] = texts[-1]
    if "intervention" in values:
        # Links of earlier versions name no tab: interventions stood on the one that opens.
        values.setdefault("tab", "interventions")
    if values.get("tab") in MOVED_TABS:
        values["tab"], values["view"] = MOVED_TABS[values["tab"]]
    return Selection(**values)


def as_link(**changes: Any) -> dict[str, list[str]]:
    """Return the query of a link to the selection, with some fields changed."""
    link: dict[str, list[str]] = {}
    for name, value in asdict(replace(current(), **changes)).items():
        if name == _OWN or value is None or value is False:
            continue
        if value is True:
            link[name] = ["1"]
        elif isinstance(value, tuple):
            link |= {name: list(value)} if value else {}
        else:
            link[name] = [str(value)]
    return link


def _write_link() -> None:
    link = as_link()
    st.session_state[_WRITTEN] = link
    if link != _link() or _OWN in st.query_params:
        for name in asdict(Selection()):
            if name in link:
                st.query_params[name] = link[name]
            elif name in st.query_params:
                del st.query_params[name]
