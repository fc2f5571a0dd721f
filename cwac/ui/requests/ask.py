"""Asking: examples from the model's world, a request of the reader's own, every arm's answer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

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
from cwac.ui.requests.grid import SQUARES, WORDS, show_answers
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


def asked_before(answers: pd.DataFrame) -> str | None:
    """Return the id of the stored request whose words stand in the box, None where none has them.

    Parameters
    ----------
    answers : DataFrame
        ``responses`` rows that hold every stored request.
    """
    text = " ".join(st.session_state.get(_TEXT, "").split())
    if not text:
        return None
    rows = answers[answers["kind"].isin(list(KINDS))].drop_duplicates("prompt_id")
    same = rows[rows["prompt"].str.split().str.join(" ") == text]
    return None if same.empty else str(same["prompt_id"].iloc[0])


def show_ask(frame: Frame, answers: pd.DataFrame) -> Callable[[], None]:
    """Draw the examples and the box for a request, or say why there is no box, and the answers.

    A request whose answers are stored loads no model: they stand under it at once.

    Parameters
    ----------
    answers : DataFrame
        Result of ``cwac.ui.requests.grid.with_aligned``.

    Returns
    -------
    What asks the models, in the place of their answers: to be called once the page, whose stored
    answers need none of them, is drawn.
    """
    kept = {r.run_id: r for r in frame.records if r.kept_model}
    _show_examples(answers)
    if show_read_only():
        _show_stored(frame, answers)
        return _nothing
    if not kept:
        _show_stored(frame, answers)
        st.caption(
            "Stored answers alone are shown: no run in view kept its weights, so that nothing new "
            "can be asked. `--save-model` on the command line, and the Runs page, keep them."
        )
        return _nothing
    sent, request, chosen = _show_box(frame, kept)
    place = st.container()
    if sent and (problem := _problem(request, chosen)):
        place.warning(problem)
        sent = False
    with place:
        stored = _show_stored(frame, answers)
    if stored is not None:
        if sent:
            _choose(answers, stored)
        return _nothing
    return partial(_answer, frame, place, request, chosen if sent else ())


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


def _choose(answers: pd.DataFrame, prompt_id: str) -> None:
    """Choose a stored request in the grid and in what stands under it."""
    row = answers[answers["prompt_id"] == prompt_id].iloc[0]
    selection.select(prompt=prompt_id, kind=row["kind"])


def _show_stored(frame: Frame, answers: pd.DataFrame) -> str | None:
    """Show the stored answers to the request in the box; return its id, None where none is."""
    stored = asked_before(answers)
    if stored is None:
        return None
    rows = answers[answers["prompt_id"] == stored]
    if (rows["kind"] == "harmful").any():
        offer_reveal("reveal_asked")
    show_answers(rows, [ALIGNED, *frame.arms], place="asked_")
    st.caption(
        "This request is one of the test set's: every method's answer to it is stored. No model "
        "was loaded; *Token by token*, below, asks them again."
    )
    return stored


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
