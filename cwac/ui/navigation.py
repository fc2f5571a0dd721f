"""The one list of pages: it feeds the router, every page's frame and the tests."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from cwac.registry import Registry


@dataclass(frozen=True)
class PageSpec:
    """A page of the app.

    Attributes
    ----------
    name : str
        File stem under ``pages/`` and last part of the page's address.
    title : str
        Heading and menu entry.
    icon : str
        An emoji: named icon fonts would be fetched from the network.
    section : str
        Heading in the menu.
    question : str
        What the page answers, shown under its title.
    needs_runs : bool
        Whether the page has nothing to show while no run is stored.
    every_arm : bool
        Whether the page is about all arms, so that none is picked out.
    tabs : mapping of str to str
        Name (in the link) and title of each tab, the first one opens; names are unique over all
        pages.
    uses : mapping of str to tuple of str
        What of the sidebar acts on the page: ``experiment``, ``overlay`` (experiments compared with
        it), ``seed``, ``reveal``; each with the tabs that it acts on, none for all of them.
    """

    name: str
    title: str
    icon: str
    section: str
    question: str
    needs_runs: bool = True
    every_arm: bool = False
    tabs: Mapping[str, str] = field(default_factory=dict)
    uses: Mapping[str, tuple[str, ...]] = field(
        default_factory=lambda: {"experiment": (), "overlay": ()}
    )

    @property
    def path(self) -> str:
        """The page's file, relative to ``app.py``."""
        return f"pages/{self.name}.py"

    def open_tab(self, tab: str | None) -> str:
        """Return the tab that is open where the link names `tab`; empty on a page without tabs."""
        return tab if tab is not None and tab in self.tabs else next(iter(self.tabs), "")

    def used(self, tab: str | None) -> frozenset[str]:
        """Return what of the sidebar acts on the tab that is open where the link names `tab`."""
        shown = self.open_tab(tab)
        return frozenset(name for name, tabs in self.uses.items() if not tabs or shown in tabs)


PAGES: Final = Registry(
    "page",
    [
        PageSpec(
            "start",
            "Start",
            "🧭",
            "The story",
            "Does the fine-tuned model still refuse, and which defence, if any, keeps it refusing?",
            tabs={"story": "Story", "replay": "Replay of training", "lesson": "Lesson"},
            uses={
                "experiment": (),
                "overlay": ("story", "replay"),
                "seed": ("replay",),
                "reveal": ("replay",),
            },
        ),
        PageSpec(
            "results",
            "Results",
            "🎯",
            "The story",
            "On which tasks and models does each method hold, what does it cost, and what may be "
            "claimed?",
            every_arm=True,
            tabs={
                "tasks": "Tasks and models",
                "settings": "Every setting",
                "cost": "Harm and cost",
                "poison": "Poison",
                "claims": "Claims",
                "attacks": "Attackers",
                "choices": "Ablations",
                "hidden": "Beyond greedy answers",
            },
            uses={"experiment": (), "overlay": ("hidden",)},
        ),
        PageSpec(
            "requests",
            "Requests",
            "💬",
            "A closer look",
            "What does each method answer, which requests flipped, and do the judges agree?",
            tabs={"one": "One request", "outcomes": "Outcomes", "judges": "Judges"},
            uses={
                "experiment": (),
                "overlay": (),
                "seed": ("one", "judges"),
                "reveal": ("one", "judges"),
            },
        ),
        PageSpec(
            "mechanism",
            "Mechanism",
            "⚖️",
            "A closer look",
            "Which part brings refusals back when it is restored, at what price, how far did it "
            "move, into which subspace, and do other models agree?",
            tabs={
                "causes": "Causes",
                "interventions": "Other interventions",
                "models": "Other models",
                "prediction": "Does drift predict harm?",
                "drift": "Weight drift",
                "overlap": "Subspace overlap",
            },
            uses={"experiment": (), "overlay": ("drift", "overlap")},
        ),
        PageSpec(
            "features",
            "Features",
            "🔬",
            "A closer look",
            "Which safety features changed, and which did the penalty hold?",
            tabs={
                "latents": "Latents",
                "moved": "What moved",
                "held": "What the penalty held",
                "fit": "Fit and map",
            },
            uses={"experiment": (), "overlay": (), "reveal": ("latents",)},
        ),
        PageSpec(
            "runs",
            "Runs",
            "🗂️",
            "Your work",
            "Everything stored, and a short fine-tune of your own.",
            needs_runs=False,
            every_arm=True,
            tabs={"stored": "Stored runs", "launch": "Train and watch"},
            uses={"reveal": ("launch",)},
        ),
        PageSpec(
            "reference",
            "Reference",
            "📚",
            "Your work",
            "What is each method, what does the paper report, what do the words mean, and how far "
            "do the results go?",
            needs_runs=False,
            every_arm=True,
            tabs={
                "methods": "Methods",
                "paper": "The paper",
                "glossary": "Glossary",
                "limits": "Limits",
                "cite": "How to cite",
            },
            uses={"experiment": ("methods", "paper"), "overlay": ("paper",)},
        ),
    ],
)
MOVED: Final[Mapping[str, tuple[str, str | None]]] = {
    "overview": ("start", None),
    "refusal": ("requests", "outcomes"),
    "weight_drift": ("mechanism", "drift"),
    "subspace_overlap": ("mechanism", "overlap"),
    "sae_features": ("features", None),
    "prompt": ("requests", "one"),
    "trade_off": ("results", "cost"),
    "paper": ("reference", "paper"),
    "methods": ("reference", "methods"),
    "run": ("runs", "launch"),
}
"""Where the pages of earlier versions are now: page and tab; their links go on working."""
MOVED_TABS: Final[Mapping[str, tuple[str, str]]] = {
    "strengths": ("choices", "strengths"),
    "coupling": ("choices", "halves"),
}
"""Where the tabs of earlier versions are now: tab, and what is open on it."""


def places() -> list[str]:
    """Return every page, with each of its tabs: ``start``, ``results/cost``, ..."""
    return [
        f"{page.name}/{tab}" if tab else page.name
        for page in PAGES.values()
        for tab in page.tabs or [""]
    ]


def sections() -> dict[str, list[PageSpec]]:
    """Return the pages by menu heading, in order."""
    sections: dict[str, list[PageSpec]] = {}
    for page in PAGES.values():
        sections.setdefault(page.section, []).append(page)
    return sections
