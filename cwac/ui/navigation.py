"""The one list of pages: it feeds the router, every page's frame and the tests."""

from dataclasses import dataclass
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
    """

    name: str
    title: str
    icon: str
    section: str
    question: str
    needs_runs: bool = True
    every_arm: bool = False

    @property
    def path(self) -> str:
        """The page's file, relative to ``app.py``."""
        return f"pages/{self.name}.py"


PAGES: Final = Registry(
    "page",
    [
        PageSpec(
            "overview",
            "Overview",
            "🧭",
            "Results",
            "Does the fine-tuned model still refuse, and which constraint keeps it refusing?",
        ),
        PageSpec(
            "refusal",
            "Refusal",
            "🛑",
            "Results",
            "Which requests does each arm refuse, and which ones flipped?",
        ),
        PageSpec(
            "weight_drift",
            "Weight drift",
            "⚖️",
            "Results",
            "How far did the weights move, where, and inside which subspace?",
        ),
        PageSpec(
            "subspace_overlap",
            "Subspace overlap",
            "📐",
            "Results",
            "Does the update point into the safety subspace more than chance would?",
        ),
        PageSpec(
            "sae_features",
            "SAE features",
            "🔬",
            "Results",
            "Which safety features changed, and which did the penalty hold?",
        ),
        PageSpec(
            "prompt",
            "Prompt",
            "💬",
            "Results",
            "One request through four lenses: weights, features, log-odds, answer.",
        ),
        PageSpec(
            "trade_off",
            "Trade-off",
            "🎯",
            "Field",
            "What does each method's safety cost in task accuracy, and do CWAC's halves add up?",
            every_arm=True,
        ),
        PageSpec(
            "paper",
            "Paper",
            "📄",
            "Field",
            "What the paper reports beside what the lab measures: which orderings hold?",
            needs_runs=False,
            every_arm=True,
        ),
        PageSpec(
            "methods",
            "Methods",
            "🧰",
            "Field",
            "Which defences there are, when they act, what they need and what they cost.",
            needs_runs=False,
            every_arm=True,
        ),
        PageSpec(
            "run",
            "Run",
            "▶️",
            "Runs",
            "Start a short fine-tune of your own and watch it.",
            needs_runs=False,
            every_arm=True,
        ),
        PageSpec(
            "runs",
            "Runs",
            "🗂️",
            "Runs",
            "Everything stored: settings, differences, disk use, archives.",
            needs_runs=False,
            every_arm=True,
        ),
    ],
)


def sections() -> dict[str, list[PageSpec]]:
    """Return the pages by menu heading, in order."""
    sections: dict[str, list[PageSpec]] = {}
    for page in PAGES.values():
        sections.setdefault(page.section, []).append(page)
    return sections
