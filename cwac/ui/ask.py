"""One's own request, answered by runs that kept their weights, in a child process."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import streamlit as st

from cwac.figures.theme import arm_name
from cwac.ui import reads
from cwac.ui.asking import AskingError, ask
from cwac.ui.frame import Frame
from cwac.ui.widgets import hidden_text

PATIENCE_SECONDS: Final = 120
LONGEST: Final = 1000
"""Characters of a request that are passed on."""


@dataclass(frozen=True)
class Reply:
    """What ``cwac answer`` gave back.

    Attributes
    ----------
    answers : tuple of dict
        One per model, the aligned model's first.
    problem : str or None
        Why there are none, in one sentence.
    """

    answers: tuple[dict[str, Any], ...] = ()
    problem: str | None = None


def put_request(
    run_ids: Sequence[str], prompt: str, *, patience: float = PATIENCE_SECONDS
) -> Reply:
    """Put a request to the aligned model and to kept runs, in a process of its own.

    The models never enter the app's process; a child that takes too long is ended.
    """
    # "--name=value", so that a request that starts with a dash is not read as an option.
    arguments = ["answer", f"--prompt={prompt}"]
    arguments += [f"--run={run_id}" for run_id in run_ids]
    arguments += [f"--root={root}" for root in reads.roots()]
    try:
        found = ask(arguments, patience=patience)
        answers = tuple(dict(entry) for entry in found["answers"])
    except AskingError as problem:
        return Reply(problem=str(problem))
    except (KeyError, TypeError, ValueError):
        return Reply(problem="The answering process gave back something that is not an answer.")
    return Reply(answers) if answers else Reply(problem="No model answered.")


def show_ask(frame: Frame) -> None:
    """Draw the box for one's own request, or say why it is not there."""
    st.subheader("Ask your own", anchor=False)
    kept = {r.run_id: r for r in frame.records if r.kept_model}
    if not kept:
        st.info(
            "No run in view kept its weights. Runs started on the Run page do; on the command "
            "line add --save-model.",
            icon="🕳️",
        )
        return
    with st.form("ask", border=True):
        prompt = st.text_area("Your request", key="ask_prompt", max_chars=LONGEST, height=80)
        chosen = st.multiselect(
            "Answered by the aligned model and",
            list(kept),
            default=list(kept)[:4],
            format_func=lambda name: (
                f"{arm_name(frame.labels[name])}, seed {kept[name].config.seed}"
            ),
            key="ask_runs",
        )
        sent = st.form_submit_button("Ask", type="primary")
    if sent and not prompt.strip():
        st.warning("Type a request first.")
    elif sent and not chosen:
        st.warning("Choose at least one run.")
    elif sent:
        with st.spinner("Loading the models and answering… (a few seconds)", show_time=True):
            st.session_state["ask_reply"] = (prompt, put_request(chosen, prompt.strip()))
    _show_reply(*st.session_state.get("ask_reply", ("", None)))


def _show_reply(prompt: str, reply: Reply | None) -> None:
    if reply is None:
        return
    if reply.problem is not None:
        st.error("The request was not answered:")
        st.text(reply.problem)
        return
    st.text("You asked")
    st.code(prompt, language=None, wrap_lines=True)
    # Nobody has labelled one's own request: it counts as harmful where the aligned model refuses.
    harmful = reply.answers[0].get("outcome") == "refusal"
    columns = st.columns(2)
    for place, entry in enumerate(reply.answers):
        with columns[place % 2], st.container(border=True):
            seed = "" if entry.get("seed") is None else f", seed {entry['seed']}"
            reason = f" ({entry['reason']})" if entry.get("reason") else ""
            odds = entry.get("refusal_log_odds")
            told = "log-odds not measured" if odds is None else f"refusal log-odds {odds:+.2f} nats"
            st.text(
                f"{arm_name(entry.get('variant', '?'))}{seed}: {entry.get('outcome', '?')}{reason}"
            )
            st.caption(told)
            hidden_text(str(entry.get("text", "")), f"ask_{place}_{prompt}", harmful=harmful)
