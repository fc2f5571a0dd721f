"""Arms: what a run is an arm of, as data; labels are made from it and never read back.

An arm is a method, the settings that set it apart from the model's documented defaults, and the
way it is trained. Titles, the order in figures and "is it a control" derive from it.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from pydantic import Field

from cwac.config import MEASURED, ExperimentConfig
from cwac.settings import Settings

TITLES: Final[Mapping[str, str]] = {
    "sft": "SFT",
    "weight_only": "Weight only",
    "activation_only": "Activation only",
    "cwac": "CWAC",
    "safe_instruct": "SafeInstr",
    "sppft": "SPPFT",
    "lisa": "Lisa",
    "asft": "AsFT",
    "constrained_sft": "Constrained SFT",
    "backdoor_align": "BackdoorAlign",
    "salora": "SaLoRA",
    "safegrad": "SafeGrad",
    "guardspace": "GuardSpace projector",
    "l2_to_init": "L2 to init",
    "ewc": "EWC",
    "kl_to_aligned": "KL to aligned",
    "residual_mse": "Residual MSE",
    "refusal_direction_penalty": "Refusal direction",
    "safelora": "SafeLoRA",
    "safe_delta": "Safe Delta",
    "safe_merge": "SafeMERGE",
    "resta": "RESTA",
}
"""Titles of methods whose runs were stored without one, in the order of figures.

A method that joins states its title in its class alone: its runs store it with their arm.
"""

CONTROLS: Final[Mapping[str, frozenset[str]]] = {
    "subspace": frozenset({"random", "harmless", "trailing"}),
    "latents": frozenset({"random", "harmless"}),
}
"""Values of settings that make an arm a control; methods declare theirs from this table."""
_PARTS: Final = {"subspace": "directions", "latents": "latents"}
"""What the settings that make controls choose, in words."""


class Arm(Settings):
    """What a run is an arm of."""

    method: str
    """The method's name; ``measured`` for a finished checkpoint, ``aligned`` for the model before
    fine-tuning."""
    changed: dict[str, Any] = Field(default_factory=dict)
    """Settings that differ from the model's documented defaults; a measured checkpoint's name."""
    adapter: str = "full"
    """``full``: every weight is trained; ``lora8``: adapters of rank 8."""
    overlay: str | None = None
    """Short name of the experiment it belongs to, where that is compared with the one in view."""
    control: bool = False
    """Whether its settings make it a control."""
    idle: bool = Field(default=False, exclude=True)
    """Whether its answers are SFT's, as ``cwac.analysis.idle`` finds; of the view, never stored."""
    unlearned: bool = Field(default=False, exclude=True)
    """Whether it did not learn the task, as ``cwac.analysis.holding`` finds; of the view."""
    tuned: bool = Field(default=False, exclude=True)
    """Whether these are the settings that its model's card has as best of those tried and not as
    defaults (``cwac.artifacts.as_tuned``); of the view, never stored."""
    default: bool = Field(default=False, exclude=True)
    """Whether these are a method's defaults where it was run at tuned settings too
    (`beside_tuned`): never mixed silently; of the view, never stored."""
    method_title: str | None = None
    """The method's title, where `TITLES` does not know the method."""

    def __hash__(self) -> int:
        """Return a hash that agrees with equality."""
        return hash((self.label, self.adapter, self.control))

    @property
    def changes(self) -> str:
        """The changed settings as text, empty for an arm at its defaults.

        Examples
        --------
        >>> Arm(method="cwac", changed={"subspace": "random", "strength": 0.5}).changes
        'strength=0.5, subspace=random'
        """
        return ", ".join(f"{name}={value}" for name, value in sorted(self.changed.items()))

    @property
    def label(self) -> str:
        """The key of tables and links.

        Examples
        --------
        >>> Arm(method="cwac", changed={"strength": 0.5}, overlay="topic p0.1").label
        'cwac (strength=0.5) @ topic p0.1'
        """
        return self._named(self.method, self.changes)

    @property
    def title(self) -> str:
        """The name for people; what makes it a control is in words.

        Examples
        --------
        >>> Arm(method="weight_only").title, ALIGNED.title
        ('Weight only', 'aligned model')
        >>> Arm(method="cwac", changed={"subspace": "random", "strength": 0.5}).title
        'CWAC (strength=0.5, random directions)'
        >>> Arm(method="safelora", idle=True).title
        'SafeLoRA (did nothing here)'
        >>> Arm(method="safe_delta", unlearned=True).title
        'Safe Delta (did not learn the task)'
        >>> Arm(method="lisa", changed={"strength": 2.0}, tuned=True).title
        'Lisa (tuned)'
        >>> Arm(method="sft").over("harmless data").title
        'SFT on harmless data'
        """
        words = ["tuned"] if self.tuned else ["default"] if self.default else [
            # As a list, because a stored value need not hash.
            f"{value} {_PARTS[name]}"
            if value in [*CONTROLS.get(name, ())]
            else f"{name}={value}"
            for name, value in sorted(self.changed.items())
        ]  # fmt: skip
        title = self._named(self.method_name, ", ".join(words), "on")
        if self.unlearned:
            return f"{title} (did not learn the task)"
        return f"{title} (did nothing here)" if self.idle else title

    @property
    def spelled(self) -> str:
        """The method's name for people with the settings as they are set.

        Examples
        --------
        >>> Arm(method="cwac", changed={"subspace": "random"}).spelled
        'CWAC (subspace=random)'
        """
        return self._named(self.method_name, self.changes)

    @property
    def method_name(self) -> str:
        """The method's name for people."""
        return "aligned model" if self.is_aligned else self.method_title or title_of(self.method)

    @property
    def is_aligned(self) -> bool:
        """Whether it is the aligned model itself."""
        return self.method == ALIGNED.method

    @property
    def sort_key(self) -> tuple[bool, int, str]:
        """The aligned model, the known methods, others by name; controls last."""
        known = [ALIGNED.method, *TITLES]
        place = known.index(self.method) if self.method in known else len(known)
        return self.control, place, self.label

    @property
    def colour_key(self) -> str:
        """What decides the colour: the method, whatever its settings."""
        return self.method

    def over(self, overlay: str | None) -> "Arm":
        """Return the arm as one of another experiment, or of the one in view (None)."""
        return self.model_copy(update={"overlay": overlay})

    def beside_tuned(self, methods: Collection[str]) -> "Arm":
        """Return the arm beside tuned ones: at the defaults of one of the methods it says so.

        Parameters
        ----------
        methods : collection of str
            Those that a reader sees at tuned settings, here or elsewhere.

        Examples
        --------
        >>> Arm(method="lisa").beside_tuned({"lisa"}).title
        'Lisa (default)'
        >>> Arm(method="ewc").beside_tuned({"lisa"}).title
        'EWC'
        """
        if self.changed or self.method not in methods:
            return self
        return self.model_copy(update={"default": True})

    def without(self, setting: str) -> "Arm":
        """Return the arm with one setting at its default."""
        rest = {name: value for name, value in self.changed.items() if name != setting}
        return self.model_copy(update={"changed": rest})

    def _named(self, method: str, changes: str, joined: str = "@") -> str:
        if self.method == MEASURED:
            text = f"{method}: {self.changed.get('name')}"
        else:
            text = f"{method} ({changes})" if changes else method
        return text if self.overlay is None else f"{text} {joined} {self.overlay}"


BASELINE: Final = "sft"
"""The method and label of plain fine-tuning, which every other method is held against."""
ALIGNED: Final = Arm(method="aligned")
"""The model before fine-tuning, to which every arm is compared."""


MANY: Final = 9
"""Up to this many arms are all shown: `FIRST` and three rivals, as many as the lab runs beside CWAC
on every task and poison ratio. In figures of more they cannot be told apart."""
# Which defence, if any, keeps the refusals: that takes plain fine-tuning, CWAC and each half alone,
# and a control for each half, because as many random directions lose what CWAC keeps where random
# latents lose a part of it. The paper's literal form (projection=gradient) is a matter of the
# method. The rivals beside them are the best of the experiment: ``cwac.analysis.first``.
FIRST: Final = (
    Arm(method="sft"),
    Arm(method="weight_only"),
    Arm(method="activation_only"),
    Arm(method="cwac"),
    Arm(method="cwac", changed={"subspace": "random"}, control=True),
    Arm(method="cwac", changed={"latents": "random"}, control=True),
)


def title_of(method: str) -> str:
    """Return a method's title; a method that the table does not know is called by its name."""
    return TITLES.get(method, method)


def is_control(settings: Mapping[str, Any], controls: Mapping[str, frozenset[str]]) -> bool:
    """Whether one of the settings has a value that makes its arm a control."""
    return any(settings.get(name) in values for name, values in controls.items())


def controls_of(*settings: str) -> Mapping[str, frozenset[str]]:
    """Return the values that are controls of some settings, for a method to declare."""
    return {name: CONTROLS[name] for name in settings}


def adapter_name(config: ExperimentConfig) -> str:
    """Return how weights are trained: ``full``, ``lora8``."""
    adapter = config.training.adapter
    return adapter if isinstance(adapter, str) else f"{adapter.kind}{adapter.rank}"


def arm_of_old_record(config: ExperimentConfig, variant: str) -> Arm:
    """Return the arm of a run that was stored before records held it.

    Its configuration has every setting with its value; which of them were changed is known from
    the label alone. This is the one place that reads a label.
    """
    adapter = adapter_name(config)
    if config.is_measured:
        name = config.settings.get("name")
        return Arm(method=MEASURED, changed={"name": name}, adapter=adapter)
    changed, rest = {}, variant.removeprefix(f"{config.method} (").removesuffix(")")
    # Labels list settings by name, so that one walk through them finds each.
    for name, value in sorted(config.settings.items()):
        text = f"{name}={value}"
        if rest == text or rest.startswith(f"{text}, "):
            changed[name] = value
            rest = rest[len(text) + 2 :]
    control = is_control(config.settings, CONTROLS)
    return Arm(method=config.method, changed=changed, adapter=adapter, control=control)


def in_order(arms: Iterable[Arm]) -> list[Arm]:
    """Return the different arms in the order of figures."""
    return sorted({arm.label: arm for arm in arms}.values(), key=lambda arm: arm.sort_key)


def by_label(arms: Iterable[Arm]) -> dict[str, Arm]:
    """Return arms by the label that tables hold."""
    return {arm.label: arm for arm in arms}


def default_arms(arms: Iterable[Arm], first: Iterable[Arm] = FIRST) -> list[Arm]:
    """Return the arms to look at first, at most `MANY`: those of `first`, then others at defaults.

    Examples
    --------
    >>> strong = Arm(method="cwac", changed={"strength": 0.1})
    >>> [arm.label for arm in default_arms([strong, Arm(method="lisa"), Arm(method="sft")])]
    ['sft', 'lisa', 'cwac (strength=0.1)']
    """
    named = by_label(arms)
    leading = [arm.label for arm in first if arm.label in named]
    at_defaults = [label for label, arm in named.items() if not arm.changed]
    ranked = dict.fromkeys([*leading, *at_defaults, *named])
    return [named[label] for label in ranked][:MANY]
