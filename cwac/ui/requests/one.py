"""The Requests page's longer parts: choosing a request, the answers to it, asking another one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import pandas as pd
import streamlit as st

from cwac.arms import ALIGNED, by_label
from cwac.figures.requests import lenses as lenses_figures
from cwac.messages import Answer, Answers
from cwac.ui import reads
from cwac.ui.asking import AskingError, ask
from cwac.ui.frame import Frame
from cwac.ui.readonly import show_read_only
from cwac.ui.requests.table import KINDS, show_answers
from cwac.ui.sections import not_measured, selects
from cwac.ui.widgets import choose, hidden_text, show_figure

_MOST = 500


def pick_request(frame: Frame, requests: pd.DataFrame) -> str:
    """Let the reader search the test requests and choose one; return its id.

    Parameters
    ----------
    requests : DataFrame
        ``responses`` rows that hold every request (once or more often).
    """
    rows = requests.drop_duplicates("prompt_id").set_index("prompt_id")
    left, right = st.columns([1, 2])
    text = left.text_input(
        "Search the test requests",
        key="prompt_search",
        placeholder="any text",
        persist_state="session",
    )
    matching = rows[rows["prompt"].str.contains(text.strip(), case=False, regex=False)]
    if matching.empty:
        left.caption("No request holds this text; all are listed.")
        matching = rows
    names = {
        str(row["prompt_id"]): f"{row['prompt']}  ({KINDS.get(str(row['kind']), '')})"
        for row in rows.reset_index().to_dict("records")
    }
    options = [str(name) for name in matching.index[:_MOST]]
    # What another page selected stays selected, even where the list is cut before it.
    kept = frame.selection.prompt
    if kept is not None and kept in names and kept not in options and not text.strip():
        options.insert(0, kept)
    with right:
        return choose(f"Request ({len(matching)} found)", options, "prompt", show=names.__getitem__)


def show_four_answers(frame: Frame, mine: pd.DataFrame, before: pd.DataFrame) -> None:
    """Show the answers of one seed's runs to one request, the aligned model's first."""
    st.subheader("What they answer", anchor=False)
    one_seed = mine[mine["seed"] == frame.seed]
    rows = pd.concat([before.assign(variant=ALIGNED.label, seed=frame.seed), one_seed])
    if rows.empty:
        st.caption(f"No answer is stored under seed {frame.seed}.")
        return
    st.caption(f"Greedy decoding, seed {frame.seed}.")
    show_answers(rows, frame.arms)


PATIENCE_SECONDS: Final = 120
LONGEST: Final = 1000
"""Characters of a request that are passed on."""


@dataclass(frozen=True)
class Reply:
    """What ``cwac answer`` gave back.

    Attributes
    ----------
    answers : tuple of Answer
        One per model, the aligned model's first.
    problem : str or None
        Why there are none, in one sentence.
    """

    answers: tuple[Answer, ...] = ()
    problem: str | None = None


def send_request(
    run_ids: Sequence[str], request: str, *, patience: float = PATIENCE_SECONDS
) -> Reply:
    """Ask the aligned model and kept runs for an answer, in a process of its own.

    The models never enter the app's process; a child that takes too long is ended.
    """
    # "--name=value", so that a request that starts with a dash is not read as an option.
    arguments = ["answer", f"--prompt={request}"]
    arguments += [f"--run={run_id}" for run_id in run_ids]
    arguments += [f"--root={root}" for root in reads.roots()]
    try:
        answers = ask(arguments, Answers, patience=patience).answers
    except AskingError as problem:
        return Reply(problem=str(problem))
    return Reply(answers) if answers else Reply(problem="No model answered.")


def show_ask(frame: Frame) -> None:
    """Draw the box for a user's request, or say why it is not there."""
    st.subheader("Ask your own", anchor=False)
    if show_read_only():
        return
    kept = {r.run_id: r for r in frame.records if r.kept_model}
    if not kept:
        st.info(
            "No run in view kept its weights. Runs started on the Runs page do; on the command "
            "line add --save-model.",
            icon="🕳️",
        )
        return
    with st.form("ask", border=True):
        request = st.text_area("Your request", key="ask_prompt", max_chars=LONGEST, height=80)
        chosen = st.multiselect(
            "Answered by the aligned model and",
            list(kept),
            default=list(kept)[:4],
            format_func=lambda name: f"{frame.run_arms[name].title}, seed {kept[name].config.seed}",
            key="ask_runs",
        )
        sent = st.form_submit_button("Ask", type="primary")
    if sent and not request.strip():
        st.warning("Type a request first.")
    elif sent and not chosen:
        st.warning("Choose at least one run.")
    elif sent:
        with st.spinner("Loading the models and answering… (a few seconds)", show_time=True):
            st.session_state["ask_reply"] = (request, send_request(chosen, request.strip()))
    _show_reply(frame, *st.session_state.get("ask_reply", ("", None)))


def _show_reply(frame: Frame, request: str, reply: Reply | None) -> None:
    if reply is None:
        return
    if reply.problem is not None:
        st.error("The request was not answered:")
        st.text(reply.problem)
        return
    st.text("You asked")
    st.code(request, language=None, wrap_lines=True)
    # Nobody has labelled a user's request: it counts as harmful where the aligned model refuses.
    harmful = reply.answers[0].outcome == "refusal"
    named = by_label([ALIGNED, *(record.arm for record in frame.records)])
    columns = st.columns(2)
    for place, answer in enumerate(reply.answers):
        with columns[place % 2], st.container(border=True):
            seed = "" if answer.seed is None else f", seed {answer.seed}"
            reason = f" ({answer.reason})" if answer.reason else ""
            label = answer.variant
            name = named[label].title if label in named else label
            st.text(f"{name}{seed}: {answer.outcome}{reason}")
            odds = answer.refusal_log_odds
            st.caption(
                "log-odds not measured" if odds is None else f"refusal log-odds {odds:+.2f} nats"
            )
            key = f"ask_{place}_{request}"
            hidden_text(answer.text, key, harmful=harmful, thought=answer.thought)


def show_one(frame: Frame) -> None:
    """Show the tab: one request through four lenses, and a request of the reader's own."""
    responses = frame.table("responses")
    aligned = frame.reference_table("responses")
    requests = (
        responses[responses["kind"] != "task"]
        if aligned.empty
        else aligned[aligned["kind"] != "task"]
    )
    if requests.empty:
        not_measured("Any request")
        return

    chosen = pick_request(frame, requests)
    mine = responses[responses["prompt_id"] == chosen]
    before = aligned[aligned["prompt_id"] == chosen]
    lenses = frame.table("prompt_lenses")
    lenses = lenses[lenses["prompt_id"] == chosen]
    if lenses.empty:
        st.caption("Leak and feature shift are stored for harmful test requests.")
    else:
        show_figure(
            lenses_figures.lenses_by_layer(lenses, chosen, frame.arms, frame.selection.layer),
            "lenses",
            data=lenses,
            reading="How far this one request is treated differently in each layer.",
            means=True,
            terms=("functional drift", "protected latents"),
            on_select=selects("lenses", "layer"),
        )
    odds = before["refusal_log_odds"].dropna()
    show_figure(
        lenses_figures.log_odds(mine, float(odds.iloc[0]) if len(odds) else None, frame.arms),
        "log_odds",
        data=mine[["variant", "seed", "refusal_log_odds"]],
        reading="Right of zero the model is about to refuse; the dashed line is the aligned model.",
        means=True,
        terms=("refusal log-odds", "aligned model"),
    )
    show_four_answers(frame, mine, before)
    show_ask(frame)
