"""The table of methods, as the command line gives it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pandas as pd
import streamlit as st

from cwac.errors import CwacError
from cwac.ui import asking
from cwac.ui.widgets import download_table

Entry = Mapping[str, Any]
NEEDS: Final = {
    "safety_prompts": "harmful prompts",
    "safety_answers": "safe answers",
    "harmless_prompts": "harmless prompts",
    "subspace": "safety subspace",
    "features": "SAE features",
    "base_model": "base model",
}
"""What ``Method.needs`` says, in words."""
COST: Final = "Extra passes per step"
_HELP: Final = {
    "Stage": "Whether it changes the fine-tuning itself or repairs the tuned weights afterwards.",
    "Needs": "What must be there besides the aligned model and the task; a method that lacks it "
    "says so before anything starts.",
    "Strength knob": "The one setting that trades safety against task accuracy.",
    "Default": "The strength knob's documented default; a model folder may bring its own.",
    COST: "Forward and backward passes per optimiser step beyond plain fine-tuning's one over the "
    "task batch, in full batches; costs apart from passes (projections, fits) are not in it.",
}


def ask_methods() -> list[Entry] | None:
    """Return the methods' entries of the catalogue, None after showing why there are none."""
    try:
        return list(asking.catalogue()["methods"])
    except CwacError as problem:
        st.error("The lab cannot be asked for its methods:", icon="⚠️")
        st.text(str(problem))
        return None


def method_rows(entries: Sequence[Entry]) -> pd.DataFrame:
    """Return one row per method, with the columns that the page shows.

    Parameters
    ----------
    entries : sequence of mapping
        ``methods`` of ``cwac list all --json``.

    Examples
    --------
    >>> entry = {"name": "sft", "title": "SFT", "stage": "fine-tuning", "needs": [],
    ...          "strength_knob": None, "extra_passes": 0.0, "control": False,
    ...          "summary": "Plain.", "source": "-", "settings": {}}
    >>> method_rows([entry])[["Method", "Needs", "Strength knob"]].values.tolist()
    [['sft', 'nothing more', 'none']]
    """
    return pd.DataFrame([_row(entry) for entry in entries], columns=list(_columns(entries)))


def _columns(entries: Sequence[Entry]) -> tuple[str, ...]:
    lora = ("LoRA",) if any("adapters" in entry for entry in entries) else ()
    return (*("Method", "Title", "Stage", "Needs", "Strength knob", "Default", COST), *lora,
            *("What it does", "Source"))  # fmt: skip


def _row(entry: Entry) -> dict[str, Any]:
    knob = entry["strength_knob"]
    needs = [NEEDS.get(need, need.replace("_", " ")) for need in entry["needs"]]
    return {
        "Method": entry["name"],
        "Title": f"{entry['title']} (control)" if entry["control"] else entry["title"],
        "Stage": entry["stage"],
        "Needs": ", ".join(needs) or "nothing more",
        "Strength knob": knob or "none",
        "Default": "" if knob is None else _default(entry["settings"].get(knob)),
        COST: entry["extra_passes"],
        "LoRA": "yes" if "lora" in entry.get("adapters", ()) else "no",
        "What it does": entry["summary"],
        "Source": entry["source"],
    }


def _default(value: Any) -> str:
    # None leaves the choice to the method: fitted, localised, or the experiment's own.
    return "automatic" if value is None else str(value)


def filtered(rows: pd.DataFrame, words: str, stage: str | None) -> pd.DataFrame:
    """Return the rows in which every word occurs, in whichever column, and of one stage."""
    text = rows.astype(str).agg(" ".join, axis="columns").str.lower()
    keep = pd.Series(True, rows.index) if stage is None else rows["Stage"] == stage
    for word in words.lower().split():
        keep &= text.str.contains(word, regex=False)
    return rows[keep]


def show_methods(rows: pd.DataFrame, total: int, *, adapters: bool) -> None:
    """Show the table, how many of all methods it holds, and its download."""
    if rows.empty:
        st.info("No method matches; clear the search or choose another stage.", icon="🔎")
        return
    st.dataframe(
        rows,
        hide_index=True,
        key="methods_table",
        height="content",
        column_config={
            **{name: st.column_config.Column(help=text) for name, text in _HELP.items()},
            "Method": st.column_config.Column(pinned=True),
            COST: st.column_config.NumberColumn(format="%g", help=_HELP[COST]),
        },
    )
    note = "" if adapters else " All act on full fine-tuning; no method declares LoRA support."
    st.caption(
        f"{len(rows)} of {total} methods. Sources name paper and equation, and the code where one "
        f"was released.{note}"
    )
    download_table(rows, "methods")
