"""What every hand-out says alike: drift in two sentences, questions to discuss, what to cite."""

from collections.abc import Mapping
from typing import Final

from cwac.analysis.claims import FOCUS
from cwac.arms import ALIGNED, BASELINE

DRIFT: Final = (
    "A chat model that was trained to refuse harmful requests can forget it when it is "
    "fine-tuned: it answers what it refused. That loss is safety drift"
)
"""What this is about; a sentence without its end, for what follows in its place."""
THREE: Final = (
    (ALIGNED.label, "Aligned, before tuning"),
    (BASELINE, "SFT, without a defence"),
    (FOCUS, "CWAC"),
)
"""The three models whose harmful scores say it first: label and title."""
DISCUSS: Final[Mapping[str, str]] = {
    "aligned": (
        "A model that refuses everything would score 100 % here. What else has to be measured?"
    ),
    "harmless": ("Nobody attacked the model. Who is responsible for what it answers now?"),
    "poison": (
        "The test requests stand in no training example. Why does a little poison reach them?"
    ),
    "weights": (
        "Is a large share inside the cause of the lost refusals, or only found beside it? Which "
        "experiment would tell?"
    ),
    "features": (
        "If a defence holds these features and the model still complies, what did they miss?"
    ),
    "defences": (
        "Two halves that fail alone may hold together. How would you test that it is the "
        "coupling, and not just more constraint?"
    ),
    "costs": ("Which of the failures listed here would stop you from using CWAC?"),
}
"""A question without one right answer for each step of the lesson."""
PAPER: Final = (
    "Peng et al. 2026, Preventing Safety Drift in Large Language Models via Coupled Weight and "
    "Activation Constraints, arXiv:2604.12384"
)
"""The paper of the method under study."""
LAB: Final = (
    "The CWAC Lab contributors, CWAC Lab: why fine-tuned language models stop refusing, and what "
    "coupled constraints change about it"
)
"""This program, as CITATION.cff has it."""
