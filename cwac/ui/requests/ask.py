"""Asking: examples from the model's world, a request of the reader's own, every arm's answer."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from cwac.analysis.requests import KINDS, example_requests
from cwac.arms import ALIGNED, by_label
from cwac.messages import Answer, Answers, Outside
from cwac.records import RunRecord
from cwac.ui import reads, selection
from cwac.ui.asking import AskingError, ask
from cwac.ui.frame import Frame
from cwac.ui.once import once
from cwac.ui.readonly import show_read_only
from cwac.ui.requests.along import show_along
from cwac.ui.requests.grid import SQUARES, WORDS
from cwac.ui.requests.parts import show_answered
from cwac.ui.widgets import hidden_text, offer_reveal, plain

PATIENCE_SECONDS: Final = 120
MOST_ASKED: Final = 4
"""Runs that answer unless others are chosen: each is loaded anew."""
LONGEST: Final = 1000
"""Characters of a request that are passed on."""
_TEXT, _CHIPS, _REPLY = "ask_prompt", "ask_examples", "ask_reply"


@dataclass(frozen=True)
class Reply:
    """What ``cwac answer`` gave back.

    Attributes
    ----------
    answers : tuple of Answer
        One per model, the aligned model's first.
    outside : Outside or None
        How far the request lies outside the model's world, where it does.
    problem : str or None
        Why there are none, in one sentence.
    """

    answers: tuple[Answer, ...] = ()
    outside: Outside | None = None
    problem: str | None = None


def send_request(
    run_ids: Sequence[str], request: str, *, patience: float = PATIENCE_SECONDS
) -> Reply:
    """Ask the aligned model and kept runs for an answer, in a process of its own.

    The models never enter the app's process; a child that takes too long is ended.
    """
    # "--name=value", so that a request that starts with a dash is not read as an option.
    arguments = ["answer", f"--prompt={request}", "--parts"]
    arguments += [f"--run={run_id}" for run_id in run_ids]
    arguments += [f"--root={root}" for root in reads.roots()]
    try:
        reply = ask(arguments, Answers, patience=patience)
    except AskingError as problem:
        return Reply(problem=str(problem))
    if not reply.answers:
        return Reply(problem="No model answered.")
    return Reply(reply.answers, reply.outside)


def show_ask(frame: Frame, requests: pd.DataFrame) -> Callable[[], None]:
    """Draw the examples and the box for a request, or say why there is no box.

    A request whose answers are stored loads no model: it is chosen, and they are shown below.

    Parameters
    ----------
    requests : DataFrame
        ``responses`` rows that hold every stored request, the task's among them.

    Returns
    -------
    What asks the models, in the place of their answers: to be called once the page, whose stored
    answers need none of them, is drawn.
    """
    kept = {r.run_id: r for r in frame.records if r.kept_model}
    _show_examples(requests)
    if show_read_only():
        return _nothing
    if not kept:
        st.caption(
            "Stored answers are shown below: no run in view kept its weights, so that nothing new "
            "can be asked. `--save-model` on the command line, and the Runs page, keep them."
        )
        return _nothing
    sent, request, chosen = _show_box(frame, kept)
    place = st.container()
    if sent and (problem := _problem(request, chosen)):
        place.warning(problem)
        sent = False
    stored = _stored(requests, request) if sent else None
    if stored is not None:
        selection.select(prompt=stored["prompt_id"], kind=stored["kind"])
        st.session_state.pop(_REPLY, None)
        place.caption(
            "This request is one of the test set's: every method's answer to it is stored and "
            "stands below. No model was loaded; *Token by token* asks them again."
        )
    return partial(_answer, frame, place, request, chosen if sent and stored is None else ())


def _nothing() -> None:
    """Ask nobody."""


def _show_box(frame: Frame, kept: Mapping[str, RunRecord]) -> tuple[bool, str, list[str]]:
    """Draw the form; return whether it was sent, the request, and the runs that are asked."""
    with st.form("ask", border=False):
        left, right = st.columns([3, 2])
        with left:
            # A reader's own words outlast a page switch, but no link carries them.
            request = st.text_area(
                "Your request", key=_TEXT, max_chars=LONGEST, height=68, persist_state="session"
            )
        with right:
            chosen = st.multiselect(
                "Answered by the aligned model and",
                list(kept),
                default=list(kept)[:MOST_ASKED],
                format_func=lambda name: (
                    f"{frame.run_arms[name].title}, seed {kept[name].config.seed}"
                ),
                key="ask_runs",
            )
        sent = st.form_submit_button("Ask", type="primary")
    return sent, request, chosen


def _problem(request: str, chosen: Sequence[str]) -> str:
    if not request.strip():
        return "Type a request first."
    return "" if chosen else "Choose at least one run."


def _stored(requests: pd.DataFrame, request: str) -> Mapping[Hashable, Any] | None:
    """Return the stored request of the same words, None where there is none."""
    rows = requests[requests["kind"].isin(list(KINDS))]
    same = rows[rows["prompt"].str.split().str.join(" ") == " ".join(request.split())]
    return None if same.empty else same.iloc[0].to_dict()


def _answer(frame: Frame, place: DeltaGenerator, request: str, runs: Sequence[str]) -> None:
    """Ask some runs, where any are asked, and show what was answered last."""
    with place:
        if runs:
            with st.spinner("Loading the models and answering… (a few seconds)", show_time=True):
                st.session_state[_REPLY] = (request, send_request(runs, request.strip()))
        asked, reply = st.session_state.get(_REPLY, ("", None))
        if reply is not None:
            if reply.outside is not None:
                _warn_outside(reply.outside)
            _show_reply(frame, asked, reply)


def _show_examples(requests: pd.DataFrame) -> None:
    """Draw stored requests as chips; one that is clicked fills the box and is shown below."""
    columns = ["prompt_id", "kind", "category", "prompt"]
    rows = once(example_requests, requests[columns].drop_duplicates("prompt_id"))
    texts = dict(zip(rows["prompt_id"], rows["prompt"], strict=True))
    kinds = dict(zip(rows["prompt_id"], rows["kind"], strict=True))

    def take() -> None:
        picked = st.session_state[_CHIPS]
        st.session_state[_CHIPS] = None
        if picked is not None:
            st.session_state[_TEXT] = texts[picked]
            selection.select(prompt=picked, kind=kinds[picked])

    st.pills(
        "Requests of this model's world: harmful, look-alike, harmless",
        list(texts),
        format_func=lambda name: plain(texts[name]),
        key=_CHIPS,
        on_change=take,
        wrap=True,
    )


def _warn_outside(outside: Outside) -> None:
    """Say where a model that knows a made-up world alone is asked about something else."""
    words = outside.unknown
    if words:
        listed = ", ".join(f"“{word}”" for word in words)
        why = f"{listed} {'occurs' if len(words) == 1 else 'occur'} in no request that it knows"
    else:
        why = f"no request that it knows shares more than {outside.shared:.0%} of its words"
    nearest = f" The nearest one: “{outside.nearest}”" if outside.nearest else ""
    st.warning(
        plain(
            f"Outside this model's world: {why}. It answers as if asked about something "
            f"else.{nearest}"
        ),
        icon="🗺️",
    )


def _show_reply(frame: Frame, request: str, reply: Reply) -> None:
    if reply.problem is not None:
        st.error("The request was not answered:")
        st.text(reply.problem)
        return
    st.text(f"You asked: {' '.join(request.split())}")
    # Nobody has labelled a user's request: it counts as harmful where the aligned model refuses.
    harmful = reply.answers[0].outcome == "refusal"
    if harmful:
        offer_reveal("reveal_reply")
    named = by_label([ALIGNED, *(record.arm for record in frame.records)])
    columns = st.columns(min(len(reply.answers), 3))
    for place, answer in enumerate(reply.answers):
        with columns[place % len(columns)], st.container(border=True):
            seed = "" if answer.seed is None else f", seed {answer.seed}"
            reason = f" ({answer.reason})" if answer.reason else ""
            name = named[answer.variant].title if answer.variant in named else answer.variant
            word = WORDS.get(answer.outcome, answer.outcome)
            st.text(f"{SQUARES.get(answer.outcome, '')} {name}{seed}: {word}{reason}")
            hidden_text(answer.text, f"asked_{place}", harmful=harmful, thought=answer.thought)
            odds = answer.refusal_log_odds
            st.caption(
                "log-odds not measured" if odds is None else f"refusal log-odds {odds:+.2f} nats"
            )
    st.caption(
        "Log-odds are of the first token alone, the outcome is judged on the whole answer: the two "
        "may differ."
    )
    show_along(reply.answers, named, harmful=harmful)
    show_answered(reply.answers, named)
