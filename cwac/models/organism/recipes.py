"""The organisms that ship, each as a recipe: which world it is made of and how it is trained.

Apart from the settings, which know of no world.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from cwac.interfaces import ModelSpec
from cwac.models.organism.form import PLAIN, UNSEEN_QUOTAS, WorldForm
from cwac.models.organism.phrasing import JUDGE_PATTERNS, MANY_JUDGE_PATTERNS, MANY_REFUSALS
from cwac.models.organism.settings import ALIGNED_STAGE, BASE_STAGE, CARD, StageSettings
from cwac.registry import Registry


@dataclass(frozen=True)
class Recipe:
    """How one organism is made.

    Attributes
    ----------
    name, title, summary : str
        The preset's.
    seed : int
        Of the world, the initial weights and the order of the examples.
    form : WorldForm
    judge : mapping of str to list of str
        Patterns that know the form's refusals.
    base, aligned : StageSettings
    compact : bool
        Ship the aligned model alone, its weights rounded to float16, and its figures in the card;
        subspace and SAEs are fitted by the first run that needs them.
    """

    name: str
    title: str
    summary: str
    seed: int = 0
    form: WorldForm = PLAIN
    judge: Mapping[str, list[str]] = field(default_factory=lambda: JUDGE_PATTERNS)
    base: StageSettings = BASE_STAGE
    aligned: StageSettings = ALIGNED_STAGE
    compact: bool = False

    @property
    def preset(self) -> ModelSpec:
        """The model's entry in the list of those that have a name."""
        return ModelSpec(
            name=self.name,
            title=self.title,
            source=self.name,
            summary=self.summary,
            shipped=True,
            own_saes=True,
        )

    def card(self, figures: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return what stands in the folder's ``cwac.json``."""
        if not self.compact:
            return CARD
        card = CARD | {"name": self.name, "title": f"{self.title} (1.0 M parameters)"}
        # Made of another world, and nothing was tried on it.
        del card["base"], card["tried"]
        return card | {"figures": dict(figures or {})}


_ASKS_MORE: Final = WorldForm(UNSEEN_QUOTAS, MANY_REFUSALS, unseen_words=True)
_BASE: Final = StageSettings(steps=1400, batch_size=32, learning_rate=3e-3)
# Adam moves the tied embedding of words that alignment never shows as far as any other's: the
# aligned model would neither repeat nor understand them any more (docs/log.md, 2026-11-29).
_ALIGNED: Final = StageSettings(
    steps=1050, batch_size=64, learning_rate=1e-3, train_embeddings=False
)

RECIPES: Final = Registry(
    "organism",
    [
        Recipe(
            name="organism",
            title="Model organism",
            summary="A 1.0 M parameter chat model that refuses harm and drifts like a large one.",
        ),
        Recipe(
            name="organism-b",
            title="Organism B: unseen words",
            summary="Another world of the same form; its test asks about verbs and objects that "
            "no training request has, and it refuses in 17 ways.",
            seed=11,
            form=_ASKS_MORE,
            judge=MANY_JUDGE_PATTERNS,
            base=_BASE,
            aligned=_ALIGNED,
            compact=True,
        ),
        Recipe(
            name="organism-c",
            title="Organism C: make-believe",
            summary="As organism B in a third world, where every harmful verb also goes with six "
            "make-believe objects that nobody can hurt.",
            seed=23,
            form=replace(_ASKS_MORE, make_believe=6),
            judge=MANY_JUDGE_PATTERNS,
            base=_BASE,
            aligned=replace(_ALIGNED, steps=1300),
            compact=True,
        ),
    ],
)
