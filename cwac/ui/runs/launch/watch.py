"""Jobs as they go: progress, probes, log and cancel, drawn from files alone."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import pandas as pd
import streamlit as st

from cwac.arms import Arm
from cwac.errors import ArtifactError, CwacError
from cwac.figures.runs import SIDE_BY_SIDE, arms_side_by_side
from cwac.figures.trajectory import arms_of, live_figure, probes
from cwac.jobs import ProgressLine
from cwac.messages import Catalogue
from cwac.ui import jobs, selection
from cwac.ui.experiments import listing
from cwac.ui.folding import fold, show_folded
from cwac.ui.glossary import define
from cwac.ui.jobs import Job
from cwac.ui.navigation import PAGES
from cwac.ui.readonly import read_only, show_read_only
from cwac.ui.runs.launch.preview import duration
from cwac.ui.widgets import choose, plain, show_figure

EVERY_SECONDS: Final = 1.0
PROBLEM: Final = "run_problem"
"""Where a start that did not work leaves its reason, until it is shown."""
ICONS: Final = {"queued": "⏳", "running": "🏃", "done": "✅", "failed": "❌", "cancelled": "🚫"}

_AT_WORK: Final = {"running": 0, "queued": 1}


def start(arguments: Sequence[str], root: str, *, title: str, command: str) -> None:
    """Start a job and bring it into view."""
    try:
        job_id = jobs.start(arguments, Path(root), title=title, command=command)
    except (ArtifactError, OSError) as problem:
        st.session_state[PROBLEM] = f"The run could not be started: {problem}"
    else:
        selection.select(job=job_id)


def show_jobs(root: Path) -> None:
    """Show the job in view, polling while any job is active."""
    started = jobs.jobs(root)
    if not started:
        st.caption("No run was started from here yet.")
        return
    active = any(job.active for job in started)
    st.fragment(_live, run_every=EVERY_SECONDS if active else None)(root, active)


def _live(root: Path, polling: bool) -> None:
    by_name = {job.job_id: job for job in jobs.jobs(root)}
    if polling and not any(job.active for job in by_name.values()):
        # The end is shown by a full rerun: the listing has grown, and polling stops.
        st.rerun()
    if not by_name:
        return
    # The first is what the link says nothing about: what works now, else what was started last.
    names = sorted(by_name, key=lambda name: _AT_WORK.get(by_name[name].state, len(_AT_WORK)))
    show_job(by_name[choose("Job", names, "job", show=lambda name: _label(by_name[name]))])


def _label(job: Job) -> str:
    when = f"{job.created.astimezone():%d %b %H:%M}" if job.created else ""
    return f"{ICONS[job.state]} {job.state} · {job.title} · {when}"


def show_job(job: Job) -> None:
    """Show one job: state, progress, probes, log."""
    lines = jobs.progress(job.folder)
    left, right = st.columns([3, 1], vertical_alignment="center")
    with left:
        _show_state(job, lines)
    with right:
        if job.active and not read_only():
            st.button(
                "Cancel",
                key=f"cancel_{job.job_id}",
                on_click=jobs.cancel,
                args=(job,),
                width="stretch",
                help="Ends the run's processes within three seconds; nothing half-made is kept.",
            )
        elif job.state == "done" and job.run_ids:
            st.button(
                "Show results",
                key=f"open_{job.job_id}",
                type="primary",
                width="stretch",
                on_click=_select_results,
                args=(job,),
            )
    if st.session_state.pop("open_results", False):
        st.switch_page(PAGES["start"].path)
    _show_arms(job, lines)
    table = probes(lines)
    if job.state in {"failed", "cancelled"} and (sentence := too_short(table)):
        st.caption(sentence)
    elif not table.empty:
        _show_courses(table, arms_of(lines))
    with fold("Log", "folded_log", expanded=job.state == "failed"):
        st.code(jobs.log_tail(job.folder) or "(empty)", language=None, wrap_lines=True)
        st.caption("The same, in a shell:")
        st.code(job.command, language=None, wrap_lines=True)


def _show_arms(job: Job, lines: Sequence[ProgressLine]) -> None:
    """List the runs of a job side by side: how far each is, and what it refuses now."""
    rows = arm_rows(job, lines)
    if not rows:
        return
    shown = pd.DataFrame(rows)
    # Of one that waits no more than its name is known, which is long.
    long = int(shown["Arm"].str.len().max())
    st.dataframe(
        shown.assign(Done=100 * shown["Done"]),
        key=f"arms_{job.job_id}",
        placeholder="",
        hide_index=True,
        height=min(38 + 35 * len(rows), 290),
        column_config={
            "Arm": st.column_config.TextColumn(width=min(max(150, 7 * long), 310)),
            "Seed": st.column_config.NumberColumn(width=60),
            "Done": st.column_config.ProgressColumn(min_value=0, max_value=100, format="%.0f %%"),
            "Refuses": st.column_config.TextColumn(
                help=f"At the last probe. {define('probe requests')}"
            ),
        },
        alt="The runs of this job: arm, seed, how much of it is done, what it does now, and the "
        "share of probe requests that it refuses.",
    )


def arm_rows(job: Job, lines: Sequence[ProgressLine]) -> list[dict[str, object]]:
    """Return a row per run of a job, in their order; a run that has not begun waits."""
    last: dict[str, ProgressLine] = {}
    probed: dict[str, ProgressLine] = {}
    for line in lines:
        if line.run_id:
            last[line.run_id] = line
            if line.refusal_rate is not None:
                probed[line.run_id] = line
    rows: list[dict[str, object]] = []
    for run_id in dict.fromkeys((*job.run_ids, *last)):
        line, probe = last.get(run_id, ProgressLine()), probed.get(run_id)
        name = line.variant if line.arm is None else line.arm.title
        over = not job.active or run_id != list(last)[-1]
        now = "waits" if run_id not in last else "over" if over else line.phase or ""
        rows.append(
            {
                "Arm": name or run_id,
                "Seed": line.seed,
                "Done": line.fraction if line.phase != "done" else 1.0,
                "Now": now if line.phase != "done" else "done",
                "Refuses": "not probed" if probe is None else _refuses(probe),
            }
        )
    return rows


def _refuses(probe: ProgressLine) -> str:
    rate = 100 * (probe.refusal_rate or 0.0)
    interval = ""
    if probe.refusal_low is not None and probe.refusal_high is not None:
        interval = f" [{100 * probe.refusal_low:.0f}, {100 * probe.refusal_high:.0f}]"
    return f"{rate:.0f} %{interval}, n = {probe.refusal_n}, step {probe.step}"


def _show_courses(table: pd.DataFrame, arms: Mapping[str, Arm]) -> None:
    """Draw every arm in a panel of its own, and all of them on one scale in a folded part."""
    drawn = list(dict.fromkeys(table["variant"]))[-SIDE_BY_SIDE:]
    show_figure(
        partial(arms_side_by_side, table[table["variant"].isin(drawn)], arms),
        "side_by_side",
        data=table,
        reading="A column an arm, a line a seed. Bands are 95\u00a0% intervals of the probe "
        "refusal rate; solid drift lies outside the safety subspace, dotted drift inside.",
        terms=("refusal rate", "drift", "safety subspace", "interval"),
    )
    show_folded(
        "All arms on one scale, with their losses",
        "folded_live",
        partial(
            show_figure,
            partial(live_figure, table, arms),
            "live",
            data=table,
            reading="One line per run. The band is the 95\u00a0% interval of the probe refusal "
            "rate; dotted drift lies inside the safety subspace, solid drift outside.",
            terms=("safety loss", "refusal rate", "safety subspace", "interval"),
        ),
    )


def _select_results(job: Job) -> None:
    for run in listing().runs:
        if run.run_id in job.run_ids and run.record is not None:
            selection.select(experiment=run.record.experiment_id, overlay=(), seed=None)
            st.session_state["open_results"] = True
            return


def _show_state(job: Job, lines: Sequence[ProgressLine]) -> None:
    seconds = jobs.elapsed(job)
    spent = "" if seconds is None else f" after {duration(seconds)}"
    match job.state:
        case "failed":
            st.error(f"Failed{spent}: {plain(job.message)}", icon=ICONS["failed"])
        case "cancelled":
            st.warning(f"Cancelled{spent}.", icon=ICONS["cancelled"])
        case "done":
            st.success(f"Done{spent}: {stored(job, lines)}.", icon=ICONS["done"])
        case "queued":
            st.info(f"Queued. {plain(job.message)}", icon=ICONS["queued"])
        case "running":
            share = overall(job, lines)
            last = lines[-1] if lines else ProgressLine()
            name = last.variant if last.arm is None else last.arm.title
            doing = " ".join(part for part in (name, last.phase, last.message) if part)
            rest = ""
            if share > 0.03 and seconds is not None:
                rest = f", about {duration(seconds * (1 - share) / share)} left"
            st.progress(share, text=plain(f"{doing} ({duration(seconds)} so far{rest})"))


def stored(job: Job, lines: Sequence[ProgressLine]) -> str:
    """Return how many of a finished job's runs it made, and how many were stored before."""
    made = {line.run_id for line in lines if line.phase == "done"} & set(job.run_ids)
    earlier = len(job.run_ids) - len(made)
    noun = "run" if len(job.run_ids) == 1 else "runs"
    if not earlier:
        return f"{len(made)} new {noun} stored"
    return f"{len(made)} new, {earlier} already stored"


def too_short(table: pd.DataFrame) -> str | None:
    """Return what to say instead of curves of single points, None where there are curves."""
    if table.empty:
        return "It ended before the first probe: there are no curves to show."
    if table.groupby("run_id").size().max() > 1:
        return None
    last = table.iloc[-1]
    refused = ""
    if pd.notna(last["refusal_rate"]):
        refused = (
            f" ({last['variant']}, seed {last['seed']:.0f}, refused "
            f"{100 * last['refusal_rate']:.0f} % of {last['refusal_n']:.0f} probe requests)"
        )
    return (
        f"It ended after the probe at step {last['step']:.0f}{refused}: one point makes no curve."
    )


def overall(job: Job, lines: Sequence[ProgressLine]) -> float:
    """Return the share of a job's runs that is done, 0 to 1."""
    shares: dict[str, float] = {}
    for line in lines:
        if line.run_id:
            shares[line.run_id] = line.fraction
    total = max(len(job.run_ids), len(shares), 1)
    # All runs seen before the last one are over, whatever they said last.
    done = len(shares) - 1 + list(shares.values())[-1] if shares else 0.0
    return min(max(done / total, 0.0), 1.0)


def show_problem() -> None:
    """Show why the last start did not work, once."""
    problem = st.session_state.pop(PROBLEM, None)
    if problem:
        st.error(plain(str(problem)))


def catalogue_or_message(read: Callable[[], Catalogue]) -> Catalogue | None:
    """Return what `read` gives, None after showing why it cannot, or may not, be used."""
    if show_read_only():
        return None
    try:
        return read()
    except CwacError as problem:
        st.error(f"The Runs page cannot ask the lab what there is. {plain(str(problem))}", icon="⚠️")
        return None
