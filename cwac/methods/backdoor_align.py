"""BackdoorAlign: refusals are tied to a trigger that the provider puts before every request."""

from collections.abc import Sequence
from itertools import islice
from types import MappingProxyType

from pydantic import Field

from cwac.interfaces import Method, MethodContext, MethodSettings
from cwac.methods._harmful import Rounds
from cwac.methods._mixing import Demonstrations
from cwac.prompts import Example


class BackdoorAlignSettings(MethodSettings):
    """Settings of the trigger and of the examples that carry it."""

    later = frozenset({"repeats"})

    share: float = Field(default=0.1, ge=0, lt=1)
    """Share of all training examples that are triggered safety examples (published: 11 of 111);
    0 trains without any."""
    examples: int = Field(default=11, ge=1)
    """Different safety examples, repeated over the run as the published epochs repeat them."""
    repeats: int | None = Field(default=None, ge=0)
    """How often each of these examples comes, in place of `share` (published: 5, once per epoch);
    None leaves it to `share`, with which each comes about 43 times in 300 steps of 16."""
    trigger: str = "qv7 zk3 wx9 jb4 pf8 yd2 hg5 mr6"
    """Text before the request. The published one is 150 random tokens in the system prompt; not
    every template has one, so it stands in the user's turn, and it is shorter because the
    requests are. Empty is the repository's baseline: the same examples without a trigger."""
    trigger_at_evaluation: bool = True
    """Whether requests are put to the tuned model with the trigger, as the method's provider
    does; False asks the same weights what any other user would ask them."""


class BackdoorAlign(Method[BackdoorAlignSettings]):
    """Fine-tune on the task and on ``(trigger + harmful request, refusal)``.

    The paper serves ``pi(. | trigger + x)`` and claims nothing without the trigger, so a harmful
    score under this method's name is that of a provider who controls every request. The honest
    figure for released weights is the one with ``trigger_at_evaluation = false``. The paper adds
    the safety examples; here they take the place of task examples, so that the number of updates
    and every poisoned example stay the same.
    """

    name = "backdoor_align"
    title = "BackdoorAlign"
    summary = "A few refusals are learned under a secret trigger, put before every later request."
    source = (
        "Wang et al. 2024, arXiv 2402.14968, section 3; Jayfeather1024/Backdoor-Enhanced-Alignment."
    )
    published = MappingProxyType({"share": "11 of 111", "examples": 11, "repeats": 5})
    deviation = (
        "The trigger stands before the request in the user's turn, published in the system "
        "prompt; examples repeat until they fill their share, published 5 times: repeats = 5."
    )
    needs = frozenset({"safety_prompts", "safety_answers"})
    adapters = ("full", "lora")
    strength_knob = "share"

    def __init__(self, settings: BackdoorAlignSettings) -> None:
        super().__init__(settings)
        self.shown: Demonstrations | None = None

    def setup(self, context: MethodContext) -> None:
        """Choose the safety examples and put the trigger before their requests."""
        settings = self.settings
        if settings.repeats == 0 or (settings.repeats is None and settings.share == 0):
            return
        self.shown = Demonstrations(context, self.name)
        count = min(settings.examples, len(self.shown.examples))
        chosen = list(islice(self.shown, count))
        self.shown.examples = [
            example.model_copy(update={"prompt": self.triggered(example.prompt)})
            for example in chosen
        ]
        self.shown.rounds = Rounds(count, 1, self.shown.rounds.source)

    def training_data(self, examples: Sequence[Example]) -> Sequence[Example]:
        """Return the examples with triggered ones in place of a share of the task examples."""
        if self.shown is None:
            return examples
        repeats = self.settings.repeats
        if repeats is None:
            return self.shown.mix_in(examples, self.settings.share)
        return self.shown.mix_in(examples, repeats * len(self.shown.examples) / len(examples))

    def evaluation_prompt(self, text: str) -> str:
        """Return the request behind the trigger, unless the honest figure is asked for."""
        return self.triggered(text) if self.settings.trigger_at_evaluation else text

    def triggered(self, text: str) -> str:
        """Return a request with the trigger before it."""
        return f"{self.settings.trigger} {text}".strip() if self.settings.trigger else text
