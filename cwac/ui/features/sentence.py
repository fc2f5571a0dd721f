"""A request token by token under the aligned model and two arms: stored ones, and one's own."""

from collections.abc import Sequence
from functools import partial
from typing import Final

import pandas as pd
import streamlit as st

from cwac.analysis.latents import at_tokens
from cwac.arms import ALIGNED, Arm
from cwac.errors import ArtifactError
from cwac.figures.features import latent as figures
from cwac.messages import Readings
from cwac.records import RunRecord
from cwac.ui import reads
from cwac.ui.arms import choose_pair
from cwac.ui.asking import AskingError, ask
from cwac.ui.frame import Frame
from cwac.ui.readonly import read_only
from cwac.ui.widgets import choose, plain, show_figure

TABLE: Final = "token_activations"
_BOX, _REPLY = "own_text_box", "own_reading"
_LONGEST: Final = 1000
"""Characters of a text that are passed on."""
_READING: Final = (
    "Every cell is a token of the request as the model reads it, its template too; one colour "
    "scale for all models. Point at a cell for its number. The first token is not read."
)


def show_sentence(frame: Frame, layer: int, latent: int, label: str) -> None:
    """Draw the part of a latent's card: stored test requests, and a text of the reader's own."""
    pair = choose_pair(frame.arms)
    _show_stored(frame, pair, layer, latent, label)
    _show_own(frame, pair, label)


def _show_stored(frame: Frame, pair: Sequence[Arm], layer: int, latent: int, label: str) -> None:
    table = _stored(frame, pair)
    if table.empty:
        st.caption(
            "What it does token by token is not recorded in these runs: runs that are measured "
            "from now on keep it for four test requests."
        )
        return
    mine = table[(table["layer"] == layer) & (table["latent"] == latent)]
    if mine.empty:
        st.caption("Stored token by token are safety features only.")
        return
    texts = dict(zip(mine["prompt_id"], mine["kind"] + ": " + mine["prompt"], strict=True))
    chosen = choose("Test request", list(texts), "prompt", show=texts.__getitem__)
    tokens = at_tokens(mine[mine["prompt_id"] == chosen])
    _draw(tokens, pair, label, "sentence_tokens")


def _stored(frame: Frame, pair: Sequence[Arm]) -> pd.DataFrame:
    """Return ``token_activations`` of the aligned model and of one run of each arm."""
    runs = [run.run_id for arm in pair if (run := frame.run_of(arm)) is not None]
    parts = [frame.table(TABLE, runs=runs)]
    if frame.fit_has("reference", TABLE):
        parts.insert(0, frame.reference_table(TABLE).assign(variant=ALIGNED.label, seed=0))
    parts = [part for part in parts if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else frame.table(TABLE, runs=())


def _draw(tokens: pd.DataFrame, pair: Sequence[Arm], label: str, key: str) -> None:
    arms = [ALIGNED, *pair]
    there = set(tokens["variant"])
    if there:
        show_figure(
            partial(figures.at_tokens, tokens, arms, label),
            key,
            data=tokens,
            reading=_READING,
            terms=("aligned model", "safety features"),
        )
    missing = [arm.title for arm in arms if arm.label not in there]
    if missing:
        st.caption(f"Not recorded: {plain(', '.join(missing))}.")


def _show_own(frame: Frame, pair: Sequence[Arm], label: str) -> None:
    if read_only():
        st.caption("A text of your own cannot be read here: this app is read-only.")
        return
    kept = _kept(frame, pair)
    if not kept:
        others = [arm.title for arm in frame.arms if _kept(frame, [arm])]
        chosen = " or ".join(arm.title for arm in pair)
        st.caption(
            f"A text of your own needs kept weights, and no run of {plain(chosen)} in view kept "
            "them (`--save-model` keeps them)"
            + (f"; of these arms one did: {plain(', '.join(others))}." if others else ".")
        )
        return
    # A widget that was not drawn has lost its text.
    st.session_state.setdefault(_BOX, _first_text(frame, next(iter(kept))))
    with st.form("own_text", border=False):
        text = st.text_input(
            "A text of your own, put to the models as a request", key=_BOX,
            max_chars=_LONGEST,
        )  # fmt: skip
        sent = st.form_submit_button("Colour it", type="primary")
    read_by = tuple(kept)
    if sent and not text.strip():
        st.warning("Type a text first.")
    elif sent:
        with st.spinner("Loading the models and reading… (a few seconds)", show_time=True):
            reply = _ask(read_by, text.strip(), label)
        st.session_state[_REPLY] = (label, read_by, reply)
    of_label, of_runs, reply = st.session_state.get(_REPLY, ("", (), None))
    if reply is None or (of_label, of_runs) != (label, read_by):
        return
    if isinstance(reply, str):
        st.error("The text was not read:")
        st.text(reply)
        return
    st.text(f"You wrote: {' '.join(reply.prompt.split())}")
    _draw(_tokens_of(frame, reply), list(kept.values()), label, "own_tokens")
    without = [arm.title for arm in pair if arm not in kept.values()]
    if without:
        st.caption(f"No run of {plain(' or '.join(without))} kept its weights.")


def _first_text(frame: Frame, run_id: str) -> str:
    """Return what stands in the box at first: the chosen test request, else a harmful one."""
    try:
        requests = reads.table(run_id, "responses", ("prompt_id", "kind", "prompt"))
    except ArtifactError:
        return ""
    chosen = requests[requests["prompt_id"] == frame.selection.prompt]
    rows = chosen if len(chosen) else requests[requests["kind"] == "harmful"]
    return str(rows["prompt"].iloc[0])[:_LONGEST] if len(rows) else ""


def _kept(frame: Frame, arms: Sequence[Arm]) -> dict[str, Arm]:
    """Return a run of each arm that kept its weights, of the seed in view where there is one."""

    def far(record: RunRecord) -> bool:
        return record.config.seed != frame.seed

    kept = {}
    for arm in arms:
        runs = [r for r in frame.records if r.kept_model and frame.run_arms[r.run_id] == arm]
        if runs:
            kept[min(runs, key=far).run_id] = arm
    return kept


def _ask(run_ids: Sequence[str], text: str, label: str) -> str | Readings:
    """Return what the models do with a text, or why they did not read it."""
    # "--name=value", so that a text that starts with a dash is not read as an option.
    words = ["activations", f"--prompt={text}", f"--latent={label}"]
    words += [f"--run={run_id}" for run_id in run_ids]
    words += [f"--root={root}" for root in reads.roots()]
    try:
        return ask(words, Readings)
    except AskingError as problem:
        return str(problem)


def _tokens_of(frame: Frame, reply: Readings) -> pd.DataFrame:
    arms = {run_id: arm.label for run_id, arm in frame.run_arms.items()}
    rows = [
        {
            "variant": arms.get(one.run_id or "", one.variant),
            "seed": one.seed or 0,
            "place": place,
            "token": token.text,
            "activation": token.activation,
        }
        for one in reply.readings
        for place, token in enumerate(one.tokens, start=1)
    ]
    columns = ["variant", "seed", "place", "token", "activation"]
    return pd.DataFrame(rows, columns=columns).astype({"activation": "float64"})
