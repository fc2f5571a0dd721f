"""What a latent causes: clamped in a stored dissection, or held while kept runs answer anew."""

import shlex
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

import streamlit as st

from cwac.analysis.latents import CLAMP, clamped
from cwac.analysis.readable import ARM, Quantity, readable
from cwac.arms import ALIGNED, by_label
from cwac.errors import CwacError
from cwac.figures.features.latent import clamp_effects
from cwac.messages import Answer, Answers, SteeringFile
from cwac.ui import reads
from cwac.ui.asking import AskingError, ask
from cwac.ui.folding import fold
from cwac.ui.frame import Frame
from cwac.ui.readonly import read_only
from cwac.ui.requests.grid import SQUARES, WORDS
from cwac.ui.sections import lacking
from cwac.ui.widgets import hidden_text, offer_reveal, plain, show_figure

_REPLY: Final = "steered_reply"
_LONGEST: Final = 1000
"""Characters of a request that are passed on."""
Pair = tuple[tuple[str, tuple[Answer, ...]], tuple[str, tuple[Answer, ...]]]
"""What was done, and what the models answered then: as they are, and with a latent held."""


def show_causal(frame: Frame, layer: int, label: str) -> None:
    """Draw what clamping a latent does to refusing, where a run in view was dissected."""
    seeds = {record.run_id: record.config.seed for record in frame.records}
    table = clamped(frame.pairs("dissection"), frame.run_arms, seeds, layer)
    if (table["latent"] == label).any():
        show_figure(
            clamp_effects(table, label, frame.arms),
            "clamp_effects",
            data=table[(table["latent"] == label) | table["control"]],
            text=partial(
                readable,
                table[(table["latent"] == label) | table["control"]],
                frame.arms,
                Quantity("value", "Refusal log-odds move by", "nats"),
                down={**ARM, "trial": "What is done", "control": "Random latents"},
            ),
            reading="Clamped at the last prompt token of every harmful test request: in each tuned "
            "model at the aligned model's mean there; last row: turned off in the aligned model. "
            "Grey: random latents of the layer, at the safety features' mean level, or off."
            + lacking(frame.arms, table, "Not taken apart"),
            terms=("safety features", "refusal log-odds", "control"),
            means=True,
        )
        return
    if not table.empty:
        st.caption("Clamped were the safety features and ten random ones of each layer.")
        return
    st.caption("What clamping it does to refusing is not measured in the runs in view.")
    kept = next((r.run_id for r in frame.records if r.kept_model), None)
    if kept is not None:
        root = shlex.quote(reads.shown(reads.roots()[0]))
        command = f"cwac dissect --run {kept} --only {CLAMP} --root {root}"
        st.code(command, language="bash", wrap_lines=True)


def show_steering(frame: Frame, label: str, level: float) -> None:
    """Offer to answer while the latent is held, and to export it as a steering file.

    Parameters
    ----------
    level : float
        The activation to begin with: its mean on harmful requests in the aligned model.
    """
    kept = {record.run_id: record for record in frame.records if record.kept_model}
    with fold("Clamp or scale it and answer again; export", "folded_steering"):
        if read_only():
            st.caption("This app is read-only: nothing can be asked.")
            return
        if kept:
            _show_form(frame, list(kept), label, level)
        else:
            st.caption(
                "Nothing can be asked: no run in view kept its weights (`--save-model` keeps them)."
            )
        _show_export(frame, label, level)


def _show_form(frame: Frame, kept: Sequence[str], label: str, level: float) -> None:
    arms = {r.run_id: f"{frame.run_arms[r.run_id].title}, seed {r.config.seed}" for r in
            frame.records}  # fmt: skip
    with st.form("steer", border=False):
        request = st.text_input(
            "Request", key="steer_request", max_chars=_LONGEST, persist_state="session"
        )
        left, middle, right = st.columns([2, 1, 2], vertical_alignment="bottom")
        how = left.segmented_control(
            "What is done to it", ["clamp", "scale"], default="clamp", key="steer_how",
            required=True, help="Clamp: it is held at the value at every token. Scale: its own "
            "activation is multiplied by it; 0 turns it off.",
        )  # fmt: skip
        # Another latent begins with its own mean, not with what was typed for the last one.
        start = round(level, 2)
        value = middle.number_input("Value", value=start, key=f"steer_value_{label}_{start}")
        run = right.selectbox(
            "Answered by the aligned model and", list(kept), format_func=arms.__getitem__,
            key="steer_run",
        )  # fmt: skip
        sent = st.form_submit_button("Answer with and without it", type="primary")
    if sent and not request.strip():
        st.warning("Type a request first.")
    elif sent:
        with st.spinner("Loading the models and answering… (a few seconds)", show_time=True):
            st.session_state[_REPLY] = (label, _ask(str(run), request.strip(), label, str(how),
                                                    float(value)))  # fmt: skip
    asked, reply = st.session_state.get(_REPLY, (None, ()))
    if asked != label:
        return
    if isinstance(reply, str):
        st.error("The request was not answered:")
        st.text(reply)
        return
    _show_pairs(frame, reply)


def _ask(run: str, request: str, label: str, how: str, value: float) -> str | Pair:
    """Return the answers as they are and with the latent held, or why there are none."""
    words = ["answer", f"--prompt={request}", f"--run={run}", f"--latent={label}"]
    words += [f"--{how}={value!r}", *(f"--root={root}" for root in reads.roots())]
    try:
        reply = ask(words, Answers)
    except AskingError as problem:
        return str(problem)
    done = f"{label} {'clamped to' if how == 'clamp' else 'times'} {value:g}"
    return ("as it is", reply.answers), (done, reply.held)


def _show_pairs(frame: Frame, replies: Pair) -> None:
    first = replies[0][1]
    # Nobody has labelled a user's request: it counts as harmful where the aligned model refuses.
    harmful = bool(first) and first[0].outcome == "refusal"
    if harmful:
        offer_reveal("reveal_steered")
    named = by_label([ALIGNED, *(record.arm for record in frame.records)])
    for column, (what, reply) in zip(st.columns(len(replies)), replies, strict=True):
        with column:
            st.text(what[:1].upper() + what[1:])
            for place, answer in enumerate(reply):
                title = named[answer.variant].title if answer.variant in named else answer.variant
                _show_one(title, answer, f"{what}_{place}", harmful=harmful)


def _show_one(title: str, answer: Answer, key: str, *, harmful: bool) -> None:
    word = WORDS.get(answer.outcome, answer.outcome)
    odds = answer.refusal_log_odds
    told = "" if odds is None else f", refusal log-odds {odds:+.2f}"
    st.text(f"{SQUARES.get(answer.outcome, '')} {title}: {word}{told}")
    hidden_text(answer.text, key, harmful=harmful, thought=answer.thought)


def _show_export(frame: Frame, label: str, level: float) -> None:
    run = next((r.run_id for r in frame.records if "features" in r.fits), None)
    if run is None:
        return
    st.download_button(
        "Steering file (.pt)",
        lambda: _steering_file(run, label, level),
        file_name=f"{label.replace('/', '-')}.pt",
        mime="application/octet-stream",
        key="steering_file",
        on_click="ignore",
    )
    st.caption(
        plain(
            f"For lm-evaluation-harness, whose model steered adds {level:.3g} of this latent to "
            "the stream at every token:"
        )
    )
    path = f"{label.replace('/', '-')}.pt"
    st.code(
        f"lm_eval --model steered --model_args pretrained=MODEL,steer_path={path} --tasks ...",
        language="bash",
        wrap_lines=True,
    )


def _steering_file(run: str, label: str, level: float) -> bytes:
    with tempfile.TemporaryDirectory(prefix="cwac-steer-") as folder:
        out = Path(folder) / "steering.pt"
        words = ["steer", f"--run={run}", f"--latent={label}", f"--coefficient={level!r}"]
        words += [f"--out={out}", *(f"--root={root}" for root in reads.roots())]
        ask(words, SteeringFile)
        try:
            return out.read_bytes()
        except OSError as problem:
            raise CwacError(f"the steering file was not written: {problem}") from None
