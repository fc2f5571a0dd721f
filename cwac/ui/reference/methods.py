"""Methods as cards and as a table, as the command line gives them."""

from collections.abc import Sequence
from typing import Any, Final

import pandas as pd
import streamlit as st

from cwac.artifacts import tuned_settings
from cwac.errors import CwacError
from cwac.messages import MethodEntry, ModelEntry
from cwac.ui import asking
from cwac.ui.exports import download_table
from cwac.ui.folding import fold
from cwac.ui.frame import Frame
from cwac.ui.reference.formulas import FORMULAS
from cwac.ui.reference.values import OnModel, Value, used, values_of
from cwac.ui.sections import link_to_page
from cwac.ui.widgets import choose, plain, type_text

NEEDS: Final = {
    "safety_prompts": "harmful requests",
    "safety_answers": "safe answers",
    "harmless_prompts": "harmless requests",
    "subspace": "safety subspace",
    "features": "SAE features",
    "base_model": "base model",
}
"""What ``Method.needs`` says, in words."""
COST: Final = "Extra passes per step"
DIFFERS: Final = "Differs from it"
_COLUMNS: Final = (
    *("Title", "Method", "Stage", "Needs", "Strength knob", "Default", COST),
    *("LoRA", "What it does", "Source", DIFFERS),
)
_HELP: Final = {
    "Stage": "Whether it changes the fine-tuning itself or repairs the tuned weights afterwards.",
    "Needs": "What must be there besides the aligned model and the task; a method that lacks it "
    "says so before anything starts.",
    "Strength knob": "The one setting that trades safety against task accuracy.",
    "Default": "The method's own default of the strength knob; a model's card may set another.",
    "LoRA": "Whether it also works with training.adapter = lora; only: not without.",
    COST: "Forward and backward passes per optimiser step beyond plain fine-tuning's one over the "
    "task batch, at the method's own defaults and a task batch of 16; four times the harmful "
    "requests a step cost four times as much. Projections and fits are not in it.",
    DIFFERS: "Where the method, at its own defaults or at a shipped model's, is not what its "
    "source publishes, and which settings are.",
}


ANY: Final = "any"
"""Instead of a stage: methods of all of them."""
_EXAMPLES: Final = "every word must occur: latents, 2510.14301, base model …"
OPEN: Final = 2
"""Cards that are open when no more than these match the search."""
FIRST: Final = "cwac"
"""The card that is open from the start: it shows what a card holds."""
_STAGES: Final = {
    "fine-tuning": "Methods that change the fine-tuning",
    "after training": "Methods that repair the tuned weights",
}


def ask_methods() -> tuple[Sequence[MethodEntry], Sequence[ModelEntry]] | None:
    """Return the catalogue's methods and models, None after showing why there are none."""
    try:
        catalogue = asking.catalogue()
    except CwacError as problem:
        st.error("The lab cannot be asked for its methods:", icon="⚠️")
        st.text(str(problem))
        return None
    return catalogue.methods, catalogue.models


def method_rows(entries: Sequence[MethodEntry]) -> pd.DataFrame:
    """Return one row per method, with the columns that the page shows.

    Examples
    --------
    >>> rows = method_rows([MethodEntry(name="sft", title="SFT", stage="fine-tuning")])
    >>> rows[["Method", "Needs", "Strength knob"]].values.tolist()
    [['sft', 'nothing more', 'none']]
    """
    return pd.DataFrame([_row(entry) for entry in entries], columns=list(_COLUMNS))


def _row(entry: MethodEntry) -> dict[str, Any]:
    knob = entry.strength_knob
    needs = [NEEDS.get(need, need.replace("_", " ")) for need in entry.needs]
    return {
        "Method": entry.name,
        "Title": f"{entry.title} (control)" if entry.control else entry.title,
        "Stage": entry.stage,
        "Needs": ", ".join(needs) or "nothing more",
        "Strength knob": knob or "none",
        "Default": "" if knob is None else _default(entry.settings.get(knob)),
        COST: entry.extra_passes,
        "LoRA": _lora(entry.adapters),
        "What it does": entry.summary,
        "Source": entry.source,
        DIFFERS: entry.deviation or "nothing known",
    }


def _lora(adapters: Sequence[str]) -> str:
    if "lora" not in adapters:
        return "no"
    return "yes" if "full" in adapters else "only"


def _default(value: Any) -> str:
    # None leaves the choice to the method: fitted, localised, or the experiment's own.
    return "automatic" if value is None else str(value)


def differing(entries: Sequence[MethodEntry], models: Sequence[ModelEntry]) -> list[str]:
    """Return what the models' cards set otherwise than the methods; equal cards share a line.

    Examples
    --------
    >>> cwac = MethodEntry(name="cwac", title="CWAC", strength_knob="strength",
    ...                    settings={"strength": 0.5})
    >>> card = {"methods": {"cwac": {"strength": 0.3}}}
    >>> differing([cwac], [ModelEntry.model_validate({"name": "organism", "defaults": card})])
    ['the card of organism sets CWAC strength = 0.3']
    """
    cards: dict[str, list[str]] = {}
    for model in models:
        parts = []
        for entry in entries:
            knob = entry.strength_knob
            if knob is None:
                continue
            value = model.defaults.methods.get(entry.name, {}).get(knob)
            if value is not None and value != entry.settings.get(knob):
                parts.append(f"{entry.title} {knob} = {value}")
        if parts:
            cards.setdefault("; ".join(parts), []).append(model.name)
    return [f"the card of {' and of '.join(names)} sets {text}" for text, names in cards.items()]


def filtered(rows: pd.DataFrame, words: str, stage: str | None) -> pd.DataFrame:
    """Return the rows in which every word occurs, in whichever column, and of one stage."""
    text = rows.astype(str).agg(" ".join, axis="columns").str.lower()
    keep = pd.Series(True, rows.index) if stage is None else rows["Stage"] == stage
    for word in words.lower().split():
        keep &= text.str.contains(word, regex=False)
    return rows[keep]


def show_cards(
    entries: Sequence[MethodEntry], rows: pd.DataFrame, model: OnModel | None = None
) -> None:
    """Show a card per method of `rows`, closed to one line each unless there are few.

    Parameters
    ----------
    model : OnModel, optional
        The model in view.
    """
    shown = [entry for entry in entries if entry.name in set(rows["Method"])]
    for stage in dict.fromkeys(entry.stage for entry in shown):
        st.markdown(f"##### {plain(_STAGES.get(stage, stage))}")
        for entry in (entry for entry in shown if entry.stage == stage):
            control = " :gray-badge[control]" if entry.control else ""
            label = f"**{plain(entry.title)}**{control} · {plain(entry.summary)}"
            opened = len(shown) <= OPEN or entry.name == FIRST
            with fold(label, f"card_{entry.name}", expanded=opened):
                _show_card(entry, model or OnModel(""))


def _show_card(entry: MethodEntry, model: OnModel) -> None:
    row = _row(entry)
    if entry.name in FORMULAS:
        st.latex(FORMULAS[entry.name])
    left, right = st.columns(2)
    knob = "none"
    if entry.strength_knob:
        knob = _knob(entry, model)
    left.markdown(
        f"**Cost:** {plain(_cost(entry, model))}  \n"
        f"**Needs:** {plain(row['Needs'])}  \n"
        f"**Strength knob:** {plain(knob)}  \n"
        f"**With LoRA:** {plain(row['LoRA'])}  \n"
        f"**Name in commands:** {plain(entry.name)}"
    )
    right.markdown(f"**Source:** {plain(entry.source)}  \n**{DIFFERS}:** {plain(row[DIFFERS])}")
    if values := values_of(entry, model):
        st.markdown(_values(values, model))


def _values(values: Sequence[Value], model: OnModel) -> str:
    """Return the settings that differ as a table in Markdown."""
    head = [
        "Setting",
        f"Used on {model.name}" if model.name else "Used",
        "By",
        "Default",
        "Published",
    ]
    tuned = any(value.tuned for value in values)
    if tuned:
        head.append("Tuned arm")
    lines = [head]
    for value in values:
        cells = [value.setting, value.used, value.chosen_by, value.own, value.published]
        lines.append(cells + ([value.tuned or value.used] if tuned else []))
    first, *rest = (f"| {' | '.join(plain(cell).replace('|', '/') for cell in line)} |"
                    for line in lines)  # fmt: skip
    return "\n".join([first, "| --- " * len(head) + "|", *rest])


def _knob(entry: MethodEntry, model: OnModel) -> str:
    """Return a method's strength where it is used, and who chose it."""
    name = entry.strength_knob or ""
    own, here = entry.settings.get(name), used(entry, model, name)
    if here == own:
        return f"{name} = {_default(own)}, the method's default"
    return f"{name} = {here} by the card of {model.name} (default: {_default(own)})"


def _cost(entry: MethodEntry, model: OnModel) -> str:
    passes, harmful = entry.extra_passes, entry.settings.get("harmful_batch")
    if not passes:
        return "no pass beyond plain fine-tuning's"
    if harmful is None:
        return f"{passes:g} further passes per step (plain fine-tuning makes one)"
    # As many passes as there are harmful requests for each of the task's: proportional to them.
    here = used(entry, model, "harmful_batch")
    text = f"{passes * here / harmful:g} further passes per step (plain fine-tuning makes one), "
    text += f"with {here} harmful requests to a batch of 16"
    return text if here == harmful else f"{text} (default: {harmful})"


def show_methods(rows: pd.DataFrame, total: int, *, cards: Sequence[str] = ()) -> None:
    """Show the table, how many of all methods it holds, and its download.

    Parameters
    ----------
    cards : sequence of str
        From `differing`.
    """
    st.dataframe(
        rows,
        hide_index=True,
        key="methods_table",
        height=420,
        column_config={
            **{name: st.column_config.Column(help=text) for name, text in _HELP.items()},
            # Widths in pixels, so that no title is cut.
            "Stage": st.column_config.TextColumn(width=92, help=_HELP["Stage"]),
            "Strength knob": st.column_config.TextColumn(width=104, help=_HELP["Strength knob"]),
            "Default": st.column_config.TextColumn(width=78, help=_HELP["Default"]),
            "Title": st.column_config.TextColumn(pinned=True, width=165),
            "Method": st.column_config.TextColumn("Name in commands", width=178),
            "Needs": st.column_config.TextColumn(width=340, help=_HELP["Needs"]),
            "What it does": st.column_config.TextColumn(width=520),
            "Source": st.column_config.TextColumn(width=520),
            DIFFERS: st.column_config.TextColumn(width=520, help=_HELP[DIFFERS]),
            COST: st.column_config.NumberColumn(format="%g", help=_HELP[COST]),
        },
    )
    st.caption(
        f"{len(rows)} of {total} methods. Sources name paper and equation, and the code where one "
        f"was released."
    )
    if cards:
        changed = plain("; ".join(cards))
        st.caption(f"Defaults are the methods' own. What the Runs page starts from: {changed}.")
    download_table(rows, "methods")


def _model_in_view(frame: Frame, models: Sequence[ModelEntry]) -> OnModel | None:
    """Return what the card of the model in view says of methods; None where nothing is stored."""
    if not frame.experiments:
        return None
    config = frame.experiments[0].config.model
    cards = {entry.name: entry.defaults.methods for entry in models}
    return OnModel(config.label, cards.get(config.label, {}), tuned_settings(config.source))


def show_catalogue(frame: Frame) -> None:
    """Show the tab: every method, searched and filtered."""
    answer = ask_methods()
    if answer is not None:
        entries, models = answer
        rows = method_rows(entries)
        left, right = st.columns(2, vertical_alignment="bottom")
        with left:
            words = type_text("Search", "methods", placeholder=_EXAMPLES)
        with right:
            stages = [ANY, *dict.fromkeys(rows["Stage"])]
            stage = choose("Stage", stages, "stage", flat=True)
        chosen = filtered(rows, words, None if stage == ANY else stage)
        if chosen.empty:
            st.info("No method matches; clear the search or choose another stage.", icon="🔎")
        else:
            st.caption(
                f"{len(chosen)} of {len(rows)} methods; a line opens to its card, with the "
                "settings that are used on the model in view."
            )
            show_cards(entries, chosen, _model_in_view(frame, models))
            with fold("All of it as one table", "folded_methods"):
                show_methods(chosen, len(rows), cards=differing(entries, models))
    st.caption("The same table on the command line, as text or JSON; an arm starts with its name:")
    st.code(
        "cwac list methods\ncwac list methods --json\ncwac run --method sft --method cwac",
        language=None,
    )
    link_to_page("runs", "launch", label="Start a run")
