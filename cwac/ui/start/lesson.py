"""The lesson: seven steps, each with a prediction before the numbers are shown."""

from typing import Final

import streamlit as st

from cwac.ui import selection
from cwac.ui.frame import Frame
from cwac.ui.glossary import define
from cwac.ui.handout import handout_button
from cwac.ui.sections import command_like, link_to_page, not_measured
from cwac.ui.slide import name_setting
from cwac.ui.start.failures import show_failures
from cwac.ui.start.handout import CAUSE, lesson_handout
from cwac.ui.start.reveal import Revealed
from cwac.ui.start.steps import STEPS, Step
from cwac.ui.widgets import plain, show_figure

_NAMES: Final = tuple(STEPS)


@st.fragment
def show_lesson(frame: Frame) -> None:
    """Show the tab: the step that the link names, hidden until a prediction is made."""
    name = selection.current().step
    place = _NAMES.index(name) if name in STEPS else 0
    step = STEPS[_NAMES[place]]
    guess = _guess(step)
    st.progress((place + 1) / len(_NAMES), text=f"Step {place + 1} of {len(_NAMES)}")
    st.header(step.title, anchor=False)
    st.markdown(f"#### {step.text}")
    _show_question(step, guess)
    if guess is not None:
        _show_answer(frame, step, guess)
        if place == len(_NAMES) - 1:
            show_failures(frame)
    _show_ways(place, revealed=guess is not None)
    handout_button(
        lambda: lesson_handout(frame),
        "lesson",
        "Hand-out of the lesson (HTML)",
        "All seven steps with figures and numbers of the experiment in view, to print.",
    )


def _guess(step: Step) -> int | None:
    """Return the option that was predicted; None until the step is revealed."""
    for entry in selection.current().guess:
        name, _, option = entry.partition(".")
        # A link may say anything.
        if name == step.name and option in {str(i) for i in range(len(step.options))}:
            return int(option)
    return None


def _keep(step: Step, option: int | None) -> None:
    others = [e for e in selection.current().guess if e.partition(".")[0] != step.name]
    guess = [] if option is None else [f"{step.name}.{option}"]
    selection.select(guess=(*others, *guess))


def _show_question(step: Step, guess: int | None) -> None:
    with st.container(border=True):
        st.markdown(f"##### Predict: {step.question}")
        if guess is not None:
            marks = {guess: " ← your prediction"}
            lines = (f"- {step.options[i]}{marks.get(i, '')}" for i in step.order)
            st.markdown("\n".join(lines))
            st.button("Hide again", key="lesson_hide", on_click=_keep, args=(step, None))
            return
        chosen = st.radio(
            step.question,
            step.order,
            format_func=lambda option: step.options[option],
            index=None,
            key=f"lesson_{step.name}",
            label_visibility="collapsed",
        )
        st.button(
            "Reveal",
            key="lesson_reveal",
            type="primary",
            disabled=chosen is None,
            on_click=_keep,
            args=(step, chosen),
            help="Choose an answer first." if chosen is None else None,
        )


def _show_answer(frame: Frame, step: Step, guess: int) -> None:
    revealed = step.reveal(frame)
    if revealed is None:
        poisoned = step.poison and frame.experiments[0].config.poison_ratio
        command = command_like(frame, step.method, poison=None if poisoned else step.poison)
        not_measured("What this step asks", command=command)
        return
    st.markdown(f"#### {verdict(step, revealed, guess)} {plain(revealed.sentence)}")
    if revealed.experiment != frame.experiments[0].title:
        st.caption(f"Numbers of {plain(revealed.experiment)}, not of the experiment in view.")
        name_setting(f"Numbers of {plain(revealed.experiment)}.")
    show_figure(
        revealed.figure,
        f"lesson_{step.name}_figure",
        data=revealed.data,
        text=revealed.text,
        reading=revealed.reading,
        terms=revealed.terms,
    )
    if step.closing is not None and (closing := step.closing(frame)):
        st.markdown(f"**{CAUSE}** {plain(closing)}", help=define("restore", "refusal log-odds"))
    st.markdown(f"**Discuss:** {step.discuss}", help=define(*revealed.terms))
    link_to_page(step.page, step.tab, label=step.link)


def verdict(step: Step, revealed: Revealed, guess: int) -> str:
    """Say whether the prediction is borne out, and what the answer is, or the tied answers are.

    What the interval leaves open is not called wrong.
    """
    named = [f"“{step.options[option]}”" for option in step.order if option in revealed.right]
    open_too = [option for option in step.order if option in revealed.possible - revealed.right]
    word = ":orange[Not so.]"
    if guess in revealed.right:
        word = ":green[Most likely.]" if open_too else ":green[Right.]"
    elif guess in open_too:
        word = ":blue[Not excluded.]"
    if len(named) > 1:
        return f"{word} The answer is a tie, these are not told apart: {', '.join(named)}."
    if open_too:
        quoted = ", ".join(f"“{step.options[option]}”" for option in open_too)
        return f"{word} The numbers point to {named[0]}; their intervals leave open: {quoted}."
    return f"{word} The answer is: {named[0]}."


def _show_ways(place: int, *, revealed: bool) -> None:
    back, ahead, _ = st.columns([1, 1, 4])
    for column, label, other, inside in (
        (back, "← Back", place - 1, place > 0),
        (ahead, "Next →", place + 1, place + 1 < len(_NAMES)),
    ):
        column.button(
            label,
            key=f"lesson_{label[:4].strip('← ')}",
            disabled=not inside,
            type="primary" if label.startswith("Next") and revealed else "secondary",
            on_click=selection.select,
            kwargs={"step": _NAMES[other] if inside else None},
            width="stretch",
        )
