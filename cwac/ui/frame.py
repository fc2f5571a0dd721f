"""What every page starts with: title, experiment picker, and the tables of what is chosen."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from cwac.analysis.rules import protocol_apart, rule_of
from cwac.arms import Arm, in_order
from cwac.config import ATTACK_WORDS
from cwac.errors import ArtifactError
from cwac.records import TABLES, RunRecord
from cwac.ui import reads, selection
from cwac.ui.arms import arms_in_view
from cwac.ui.experiments import Experiment, Listing, listing
from cwac.ui.exports import name_arms
from cwac.ui.links import missing
from cwac.ui.look import offer_look, show_heading
from cwac.ui.navigation import PAGES, PageSpec
from cwac.ui.picker import pick_experiments
from cwac.ui.router import through_router
from cwac.ui.selection import Selection
from cwac.ui.slide import name_setting
from cwac.ui.widgets import plain


@dataclass
class Frame:
    """The runs in view and their tables.

    Attributes
    ----------
    experiment_id : str
        The first of the chosen experiments; empty where nothing is stored.
    experiments : list of Experiment
        The chosen experiments: one, and those compared with it.
    records : list of RunRecord
        Their runs, in the order of their arms, then of their seeds.
    run_arms : dict of str to Arm
        Run id to arm; those of further experiments name theirs as ``overlay``.
    rejudged : dict of str to (str, str)
        Run id to the stored experiment and the judge whose verdicts take the place of its own.
    reference : RunRecord or None
        The aligned model's record.
    """

    page: PageSpec
    listing: Listing
    experiments: list[Experiment] = field(default_factory=list)
    records: list[RunRecord] = field(default_factory=list)
    run_arms: dict[str, Arm] = field(default_factory=dict)
    rejudged: dict[str, tuple[str, str]] = field(default_factory=dict)
    reference: RunRecord | None = None
    notices: DeltaGenerator | None = None
    _noticed: set[str] = field(default_factory=set)

    @property
    def experiment_id(self) -> str:
        """The experiment in view."""
        return self.experiments[0].experiment_id if self.experiments else ""

    @property
    def stored_id(self) -> str:
        """The id that tables about the experiment in view are stored under."""
        return self.experiments[0].stored_id if self.experiments else ""

    @property
    def selection(self) -> Selection:
        """What is selected now, on whichever page it was selected."""
        return selection.current()

    @property
    def arms(self) -> list[Arm]:
        """The arms in view, in their one order."""
        return in_order(self.run_arms.values())

    @property
    def seeds(self) -> list[int]:
        """The seeds in view."""
        return sorted({record.config.seed for record in self.records})

    @property
    def seed(self) -> int:
        """The seed that single-run views show."""
        chosen = self.selection.seed
        return chosen if chosen in self.seeds else next(iter(self.seeds), 0)

    @property
    def records_in_view(self) -> list[RunRecord]:
        """The runs of the experiment in view, without those of experiments compared with it."""
        return [r for r in self.records if self.run_arms[r.run_id].overlay is None]

    def run_of(self, arm: Arm) -> RunRecord | None:
        """Return an arm's run of the seed in view (any seed where that one is missing)."""
        runs = [r for r in self.records if self.run_arms[r.run_id] == arm]
        exact = (r for r in runs if r.config.seed == self.seed)
        return next(exact, runs[0] if runs else None)

    def table(
        self,
        name: str,
        columns: Sequence[str] | None = None,
        *,
        seed: int | None = None,
        runs: Sequence[str] | None = None,
    ) -> pd.DataFrame:
        """Return a table of every run in view, one under the other.

        Runs that did not measure it are left out; a run whose file is broken is left out with
        a message at the top of the page.

        Parameters
        ----------
        name : str
            A name of ``records.TABLES``.
        columns : sequence of str, optional
            Read these columns alone.
        seed : int, optional
            Read the runs of this seed alone.
        runs : sequence of str, optional
            Read these runs alone.

        Returns
        -------
        DataFrame
            ``run_id``, ``variant``, ``seed`` and the table's columns; empty where no run has it.
        """
        wanted = None if columns is None else tuple(columns)
        parts: list[reads.Part] = [
            (r.run_id, self.run_arms[r.run_id].label, r.config.seed, self.rejudged.get(r.run_id))
            for r in self.records
            if name in r.tables
            and seed in (None, r.config.seed)
            and (runs is None or r.run_id in runs)
        ]
        table, problems = reads.stacked(parts, name, wanted)
        for problem in problems:
            self.tell(problem)
        return _empty(name, columns, "run_id", "variant", "seed") if table is None else table

    def reference_table(self, name: str) -> pd.DataFrame:
        """Return a table of the aligned model, empty where it was not measured."""
        return self.fit_table("reference", name)

    def fit_table(self, kind: str, name: str) -> pd.DataFrame:
        """Return a table of the experiment's ``subspace``, ``features`` or ``reference`` fit."""
        fit = self.fit_of(kind)
        if fit is None:
            return _empty(name, None)
        table = self._guarded(lambda: reads.fit_table(fit, name))
        return _empty(name, None) if table is None else table

    def fit_has(self, kind: str, name: str) -> bool:
        """Whether the experiment's fit of a kind has a table, which those made earlier may lack."""
        fit = self.fit_of(kind)
        return fit is not None and reads.store().fit_has(fit, name)

    def fit_of(self, kind: str) -> str | None:
        """Return the name of the experiment's ``subspace``, ``features`` or ``reference`` fit."""
        # The aligned model's answers were judged with its runs': those of the rule in view.
        records = sorted(self.records, key=lambda r: r.run_id in self.rejudged)
        return next((r.fits[kind] for r in records if kind in r.fits), None)

    def pairs(self, name: str = "pair_overlap") -> pd.DataFrame:
        """Return the table about pairs of the experiment's runs, empty where none is stored."""
        table = self._guarded(lambda: reads.experiment_table(self.stored_id, name))
        return _empty(name, None) if table is None else table

    def tell(self, problem: str) -> None:
        """Say at the top of the page what could not be read, once."""
        if problem not in self._noticed:
            self._noticed.add(problem)
            (self.notices or st).warning(plain(problem), icon="⚠️")

    def _guarded(self, read: Callable[[], pd.DataFrame]) -> pd.DataFrame | None:
        try:
            return read()
        except ArtifactError as problem:
            self.tell(f"Left out: {problem}")
            return None


def _empty(name: str, columns: Sequence[str] | None, *further: str) -> pd.DataFrame:
    return pd.DataFrame(columns=[*further, *(columns or TABLES[name])])


def page_frame(name: str) -> Frame:
    """Draw what every page starts with and return what is in view.

    Ends the page with a helpful message where the page needs runs and none is stored.
    """
    through_router()
    page = PAGES[name]
    st.set_page_config(page_title=f"{page.title} · CWAC Lab", page_icon=page.icon, layout="wide")
    selection.adopt_link()
    frame = Frame(page, listing())
    frame.experiments = pick_experiments(frame.listing, page)
    name_setting(_setting(frame))
    _fill(frame)
    name_arms({**frame.listing.titles, **{arm.label: arm.title for arm in frame.arms}})
    offer_look()
    show_heading(f"{page.icon} {page.title}")
    st.caption(page.question)
    _tell_weights(frame)
    frame.notices = st.container()
    for sentence in missing(page, frame.listing, {arm.label for arm in frame.arms}, frame.seeds):
        frame.tell(sentence)
    _tell_broken(frame)
    _tell_protocol(frame)
    if page.needs_runs and not frame.records:
        _nothing_stored()
        st.stop()
    return frame


def _fill(frame: Frame) -> None:
    several = len(frame.experiments) > 1
    arms = in_order(record.arm for e in frame.experiments for record in e.records)
    leading = frame.experiments[0].records if frame.experiments else ()
    shown = arms if frame.page.every_arm else arms_in_view(arms, leading)
    labels = {arm.label for arm in shown}
    for number, experiment in enumerate(frame.experiments):
        for record in experiment.records:
            # A run that was judged by two rules stands under the first that is chosen.
            if record.arm.label not in labels or record.run_id in frame.run_arms:
                continue
            if record.run_id in experiment.rejudged:
                frame.rejudged[record.run_id] = (experiment.stored_id, experiment.judge)
            overlay = _short(experiment) if number else None
            frame.run_arms[record.run_id] = record.arm.over(overlay)
            frame.records.append(record)
    if several:
        frame.records.sort(key=lambda r: (frame.run_arms[r.run_id].sort_key, r.config.seed))
    if frame.experiments:
        first = frame.experiments[0]
        as_stored = [r for r in first.records if r.run_id not in first.rejudged]
        fits = (r.fits.get("reference") for r in as_stored)
        name = next((fit for fit in fits if fit), None)
        frame.reference = None if name is None else reads.fit_record(name)


def _setting(frame: Frame) -> str:
    """Return what a figure of the page is of, in words, as far as the sidebar says."""
    used = frame.page.used(frame.selection.tab)
    shown = frame.experiments[: None if "overlay" in used else 1]
    titles = "; ".join(one.title for one in shown)
    return plain(f"In view: {titles}.") if titles and "experiment" in used else ""


def _short(experiment: Experiment) -> str:
    config = experiment.config
    adapter = config.training.adapter
    way = "" if isinstance(adapter, str) else " LoRA"
    if config.training.attack != "poison":
        way += f" {ATTACK_WORDS[config.training.attack]}"
    return f"{config.task.label} p{config.poison_ratio:g}{way} {experiment.experiment_id[-4:]}"


def _tell_broken(frame: Frame) -> None:
    for run in frame.listing.broken:
        frame.tell(f"This run cannot be read and is left out. {run.problem}")


def _tell_weights(frame: Frame) -> None:
    """Weights that were rounded are not the model that its makers published."""
    origins = (record.provenance.weights for record in frame.records)
    for origin in dict.fromkeys(filter(None, origins)):
        st.caption(plain(f"Weights: {origin.words}, from {origin.file}."))


def _tell_protocol(frame: Frame) -> None:
    """Rates made under different protocols must not be compared in silence."""
    judges = {run_id: judge for run_id, (_, judge) in frame.rejudged.items()}
    differing = protocol_apart(frame.records, judges)
    if differing:
        named = ", ".join(name.replace("_", " ") for name in differing)
        frame.tell(
            f"The runs in view were not measured alike: they differ in {named}. "
            "Their rates are not comparable."
        )
    if frame.reference is not None and rule_of(frame.reference) != frame.experiments[0].judge:
        frame.tell(
            "The aligned model's answers were judged by another rule than the runs': its rates "
            "are not comparable with theirs."
        )


def _nothing_stored() -> None:
    st.info("No run is stored yet. Start one on the Runs page, or on the command line:", icon="🌱")
    st.code("cwac run --task instruct --poison 0.1 --method sft --method cwac", language=None)
    runs = PAGES["runs"]
    st.page_link(runs.path, label="Start a run", icon=runs.icon, query_params={"tab": "launch"})
    st.caption(plain(f"Looked in: {', '.join(map(reads.shown, reads.roots()))}."))
