"""The jobs of the Runs page: what waits, works, or ended, and why."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from cwac.ui import jobs
from cwac.ui.jobs import Job
from cwac.ui.readonly import read_only
from cwac.ui.runs.launch.watch import ICONS
from cwac.ui.widgets import plain


def show_job_list(root: Path) -> None:
    """Show every job with its state; offer to cancel or to remove the marked ones."""
    listed = jobs.jobs(root)
    if not listed:
        st.caption("No job was started from the Runs page yet.")
        return
    state: Any = st.dataframe(
        pd.DataFrame([_row(job) for job in listed]),
        hide_index=True,
        key="jobs_table",
        on_select="rerun",
        selection_mode="multi-row",
        placeholder="",
        column_config={
            "State": st.column_config.TextColumn(pinned=True, width=110),
            "Started": st.column_config.DatetimeColumn(
                "Started (UTC)", format="YYYY-MM-DD HH:mm", width=135
            ),
            "Seconds": st.column_config.NumberColumn(width=80),
            "Runs": st.column_config.NumberColumn(width=60),
        },
    )
    chosen = [listed[row] for row in state.selection.rows if row < len(listed)]
    active = [job for job in chosen if job.active]
    ended = [job for job in chosen if not job.active]
    if not read_only():
        _actions(active, ended)
    for job in ended:
        if job.state == "failed":
            st.error(plain(f"{job.job_id} failed."))
            st.code(jobs.log_tail(job.folder) or "(empty log)", language=None, wrap_lines=True)


def _actions(active: list[Job], ended: list[Job]) -> None:
    with st.container(horizontal=True):
        st.button(
            f"Cancel{_counted(active)}", key="jobs_cancel", disabled=not active,
            on_click=_cancel, args=(active,),
        )  # fmt: skip
        st.button(
            f"Forget{_counted(ended)}", key="jobs_delete", disabled=not ended, on_click=_forget,
            args=(ended,), help="Removes their logs; the stored runs stay.",
        )  # fmt: skip


def _counted(chosen: list[Job]) -> str:
    if not chosen:
        return ""
    return " 1 job" if len(chosen) == 1 else f" {len(chosen)} jobs"


def _row(job: Job) -> dict[str, Any]:
    seconds = jobs.elapsed(job)
    return {
        "State": f"{ICONS[job.state]} {job.state}",
        "Job": job.title,
        "Started": None if job.created is None else _utc(job.created),
        "Seconds": None if seconds is None else round(seconds),
        "Runs": len(job.run_ids),
        "Why": job.message if job.state == "failed" else "",
        "Command": job.command,
    }


def _utc(moment: datetime) -> datetime:
    # A table shows a time with its zone as raw text.
    return moment.astimezone(UTC).replace(tzinfo=None)


def _cancel(chosen: list[Job]) -> None:
    for job in chosen:
        jobs.cancel(job)


def _forget(chosen: list[Job]) -> None:
    for job in chosen:
        jobs.delete(job)
