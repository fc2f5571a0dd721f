"""SafeInstr: a few safety demonstrations among the training examples."""

from collections.abc import Sequence
from types import MappingProxyType

from pydantic import Field

from cwac.interfaces import Method, MethodContext, MethodSettings
from cwac.methods._mixing import Demonstrations
from cwac.prompts import Example


class SafeInstructSettings(MethodSettings):
    """Settings of SafeInstr."""

    share: float = Field(default=0.03, ge=0, lt=1)
    """Share of all training examples that are harmful requests with their refusals (published:
    about 3 %, 100 to 2,000 beside 20,000 instructions); 0 switches the method off."""


class SafeInstruct(Method[SafeInstructSettings]):
    """Fine-tune on the task and on demonstrations of refusing.

    Notes
    -----
    ``min E_{D u A} [-log pi(y | x)]`` with A the refused harmful safety requests and their own
    safe answers. The paper adds the demonstrations; here they take the place of task examples,
    evenly over the run, so that the number of updates and every poisoned example stay the same.
    The released trainer's loss on the prompt's tokens is a setting of its training, not of the
    method, and is not followed.
    """

    name = "safe_instruct"
    title = "SafeInstr"
    summary = "A few refused harmful requests take the place of task examples."
    source = "Bianchi et al. 2024, arXiv 2309.07875, section 3 (safety-tuned data mixtures)."
    published = MappingProxyType({"share": "about 0.03"})
    deviation = (
        "Demonstrations take task examples' places instead of being added; the organisms' cards "
        "mix in a tenth (share = 0.1), published are about 3 %, the method's own default."
    )
    needs = frozenset({"safety_prompts", "safety_answers"})
    adapters = ("full", "lora")
    strength_knob = "share"

    def __init__(self, settings: SafeInstructSettings) -> None:
        super().__init__(settings)
        self.shown: Demonstrations | None = None

    def setup(self, context: MethodContext) -> None:
        """Collect the demonstrations."""
        if self.settings.share > 0:
            self.shown = Demonstrations(context, self.name)

    def training_data(self, examples: Sequence[Example]) -> Sequence[Example]:
        """Return the examples with demonstrations in place of a share of the task examples."""
        return examples if self.shown is None else self.shown.mix_in(examples, self.settings.share)
