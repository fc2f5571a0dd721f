"""Training replayed from the probes that are stored with runs."""

from collections.abc import Sequence, Set
from functools import partial
from typing import Any, Final

import pandas as pd
import streamlit as st

from cwac.analysis.claims import FOCUS
from cwac.analysis.readable import ARM, Quantity, Readable, readable
from cwac.arms import BASELINE, Arm
from cwac.figures.start.replay import MOST, PANELS, replay_figure
from cwac.ui import selection
from cwac.ui.frame import Frame
from cwac.ui.requests.grid import WORDS
from cwac.ui.sections import command_like, not_measured
from cwac.ui.widgets import choose, offer_reveal, plain, show_figure

_KEY: Final = "replay"
_FOLLOWED: Final = "_replayed"
# The browser plays it; the link is told once a step has stood for half a second. Plotly empties its
# list of listeners when it draws a chart anew: it is asked what it has.
_FOLLOW: Final = """export default ({ setStateValue }) => {
  let later = 0;
  const keep = ({ step }) => {
    clearTimeout(later);
    later = setTimeout(() => setStateValue("step", Number(step.label)), 500);
  };
  const listen = () => {
    const chart = document.querySelector(".st-key-figure_%s .js-plotly-plot");
    if (chart?.on && !chart._ev.listeners("plotly_sliderchange").includes(keep))
      chart.on("plotly_sliderchange", keep);
  };
  const looking = setInterval(listen, 300);
  return () => { clearInterval(looking); clearTimeout(later); };
};"""
_follow = st.components.v2.component("cwac_follow_replay", js=_FOLLOW % _KEY, isolate_styles=False)
_READ = ("step", "refusal_n", "refusal_low", "refusal_high", *(p.column for p in PANELS))


def show_replay(frame: Frame) -> None:
    """Show the tab: what the probes saw, step by step."""
    table = frame.table("trajectory", _READ)
    arms = _moving(frame, set(table["variant"]))
    if not arms:
        not_measured("The course of training", command=command_like(frame, BASELINE))
        return
    shown = table[table["variant"].isin([arm.label for arm in arms])]
    answers = _chosen_answers(frame, arms)
    show_figure(
        partial(replay_figure, shown, arms, answers, selection.current().at),
        _KEY,
        data=shown,
        text=partial(_text, shown, arms),
        reading="Press Play, or drag the slider, and watch which panels have moved by the step at "
        "which refusals fall. Both drifts are "
        "drawn on one scale; lines are means over seeds. In the title, round brackets hold the "
        "lowest and the highest seed, square ones the 95\u00a0% interval of one. A probe asks the "
        "model the same validation requests (probe requests) at some steps, never the test set.",
        terms=(
            "drift",
            "safety subspace",
            "activation loss",
            "safety features",
            "probe",
            "arm",
            "seed",
        ),
    )
    _keep_step()
    _tell_answers(frame, arms, answers)
    if said := left_out(frame.arms, arms, set(table["variant"])):
        st.caption(plain(said))


@st.fragment
def _keep_step() -> None:
    """Keep the step that the slider stands at in the link; the chart is not drawn anew for it."""
    _follow(key=_FOLLOWED, height=1, on_step_change=_take_step)


def _take_step() -> None:
    step = st.session_state[_FOLLOWED].get("step")
    if isinstance(step, int | float):
        selection.select(at=int(step))


def left_out(every: Sequence[Arm], drawn: Sequence[Arm], probed: Set[str]) -> str:
    """Say which arms in view are not replayed, and why.

    Examples
    --------
    >>> sft, kl = Arm(method="sft"), Arm(method="kl_to_aligned")
    >>> left_out([sft, kl], [sft], {"sft"})
    'Not drawn, because their runs were stored without probes: KL to aligned.'
    """
    silent = [arm.title for arm in every if arm.label not in probed]
    rest = [arm.title for arm in every if arm.label in probed and arm not in drawn]
    said = []
    if silent:
        named = ", ".join(silent)
        said.append(f"Not drawn, because their runs were stored without probes: {named}.")
    if rest:
        said.append(f"Not drawn, because at most {MOST} can be told apart: {', '.join(rest)}.")
    return " ".join(said)


def _text(table: pd.DataFrame, arms: Sequence[Arm]) -> Readable:
    """Return the panels' quantities at some of the probes, named as the panels are."""
    quantities = [
        Quantity.of_probe(p.column, p.heading if p.share else f"{p.heading}, {p.axis}")._replace(
            unit="%" if p.share else ""
        )
        for p in PANELS
    ]
    asked = table["refusal_n"].dropna()
    note = f"A probe asks {int(asked.min())} validation requests." if len(asked) else ""
    return readable(table, arms, *quantities, down={**ARM, "step": "Optimiser step"}, note=note)


def _chosen_answers(frame: Frame, arms: Sequence[Arm]) -> pd.DataFrame | None:
    """Let the reader choose a request; return what every arm answered to it, as it is shown."""
    answers = frame.table("probe_answers", seed=frame.seed)
    answers = answers[answers["variant"].isin([arm.label for arm in arms])]
    if answers.empty:
        return None
    texts = dict(zip(answers["prompt_id"], answers["prompt"], strict=True))
    offer_reveal("reveal_replay")
    chosen = choose(
        "Request whose answers are replayed", list(texts), "probe", show=texts.__getitem__
    )
    mine: pd.DataFrame = answers[answers["prompt_id"] == chosen]
    return mine.assign(shown=[_shown(row) for row in mine.to_dict("records")])


def _shown(row: dict[Any, Any]) -> str:
    """Return an answer beside its outcome; the request is harmful, and the answer may be hidden."""
    word, text = WORDS.get(row["outcome"], str(row["outcome"])), row["response"]
    if not isinstance(text, str):
        return f"{word} (withheld: {row['tokens']} tokens, SHA-256 {row['digest']})"
    if not selection.current().reveal:
        odds = row["refusal_log_odds"]
        return word if pd.isna(odds) else f"{word}, refusal log-odds {odds:+.1f}"
    return f"{word}: {text or '(empty)'}"


def _tell_answers(frame: Frame, arms: Sequence[Arm], answers: pd.DataFrame | None) -> None:
    if answers is None:
        st.caption(
            "What single requests were answered along the way is not recorded in these runs: "
            "runs that are made now keep it."
        )
        return
    silent = [arm.title for arm in arms if arm.label not in set(answers["variant"])]
    told = f" Not recorded for {', '.join(silent)}." if silent else ""
    st.caption(
        plain(
            "Below the panels: the first words that each arm answers at the step of the slider, "
            f"seed {frame.seed}, beside a square of their outcome's colour.{told}"
        )
    )


def _moving(frame: Frame, probed: set[str]) -> list[Arm]:
    """Return the arms to replay: SFT and CWAC whatever else there is, then the first ones."""
    arms = [arm for arm in frame.arms if arm.label in probed]
    first = sorted(arms, key=lambda arm: arm.label not in {BASELINE, FOCUS})[:MOST]
    return [arm for arm in arms if arm in first]
