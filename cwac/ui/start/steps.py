"""The seven steps of the lesson: what one has to know, to predict, and to discuss."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from cwac.analysis.claims import FOCUS
from cwac.arms import BASELINE
from cwac.handout.words import DISCUSS
from cwac.registry import Registry
from cwac.ui.frame import Frame
from cwac.ui.start import reveal
from cwac.ui.start.costs import costs
from cwac.ui.start.reveal import Revealed
from cwac.ui.start.why import why


@dataclass(frozen=True)
class Step:
    """One step of the lesson.

    Attributes
    ----------
    name : str
        In the link.
    title : str
        Its heading.
    text : str
        What one has to know to predict.
    question : str
        What is to be predicted.
    options : sequence of str
        The answers to choose from; a link names one by its place here.
    order : sequence of int
        The places in `options`, in the order in which they are shown: it differs between steps, so
        that nobody learns where the right one stands.
    discuss : str
        A question without one right answer.
    page, tab : str or None
        The page behind it.
    link : str
        What is seen there.
    reveal : callable
        Returns what the numbers say, None where they were not measured.
    closing : callable, optional
        Returns what the steps so far say of the cause, in plain text.
    method, poison : str, float or None
        What is to be run where the numbers are missing; None for the poison ratio in view.
    """

    name: str
    title: str
    text: str
    question: str
    options: Sequence[str]
    order: Sequence[int]
    discuss: str
    page: str
    tab: str | None
    link: str
    reveal: Callable[[Frame], Revealed | None]
    closing: Callable[[Frame], str] | None = None
    method: str = BASELINE
    poison: float | None = None


STEPS: Final = Registry(
    "step of the lesson",
    [
        Step(
            "aligned",
            "The aligned model",
            "Before anybody tunes it, the model was trained to refuse requests about harm and to "
            "help with the rest: it is aligned. We ask it requests that it never saw in training.",
            "How many harmful test requests does it refuse?",
            ("Fewer than half", "Between half and nine in ten", "Nine in ten or more"),
            (2, 1, 0),
            DISCUSS["aligned"],
            "requests",
            "outcomes",
            "Every request and its answer",
            reveal.aligned,
        ),
        Step(
            "harmless",
            "Harmless fine-tuning",
            "Somebody fine-tunes it on a task of their own. None of the examples is harmful, none "
            "speaks of refusing. This is plain supervised fine-tuning, SFT. If the model then "
            "answers what it refused, that loss is safety drift.",
            "What becomes of its refusals?",
            (
                "Nearly all stay: less than a tenth is lost",
                "Some go: up to half are lost",
                "Most go: more than half are lost",
            ),
            (0, 1, 2),
            DISCUSS["harmless"],
            "requests",
            "one",
            "One request under every method",
            reveal.harmless,
            poison=0.0,
        ),
        Step(
            "poison",
            "Poison",
            "Now some of the training examples are harmful requests with an answer. That is "
            "poison; its share is the poison ratio.",
            "How many harmful test requests does SFT comply with?",
            ("Fewer than a quarter", "A quarter to three quarters", "Three quarters or more"),
            (1, 2, 0),
            DISCUSS["poison"],
            "results",
            "poison",
            "Harm at every poison ratio",
            reveal.poisoned,
            poison=0.1,
        ),
        Step(
            "weights",
            "Where the weights moved",
            "Fine-tuning changes the weights: that change is the update. While the aligned model "
            "refuses, a few input directions of each layer carry most of its activity: the safety "
            "subspace. We measure which share of the update lies in it; chance is what a random "
            "update of the same size would have there.",
            "How much of SFT's update lies in the safety subspace?",
            ("Less than chance", "About as much as chance", "Clearly more than chance"),
            (0, 1, 2),
            DISCUSS["weights"],
            "mechanism",
            "overlap",
            "Overlap with the safety subspace, per layer",
            reveal.weights,
        ),
        Step(
            "features",
            "What the features did",
            "A sparse autoencoder (SAE) is a second, small network that writes what the model "
            "computes as a list of features, each silent on most texts. The safety features "
            "respond most to harmful requests in the aligned model.",
            "How far does SFT move them on harmful requests, as a share of their aligned size?",
            ("Hardly: less than 10 %", "Somewhat: 10 to 40 %", "Far: more than 40 %"),
            (2, 1, 0),
            DISCUSS["features"],
            "features",
            None,
            "The features, one by one",
            reveal.features,
        ),
        Step(
            "defences",
            "What the defences do",
            "A defence tunes on the same examples and tries to keep the refusals. CWAC couples two "
            "constraints: weights may not move into the safety subspace (alone: Weight only), and "
            "the safety features are held (alone: Activation only). Other methods mix in "
            "refusals, say, or stay near the aligned model.",
            "Which leaves the fewest harmful answers?",
            (
                "The weight half alone",
                "The feature half alone",
                "Both at once: CWAC",
                "Another method",
            ),
            (0, 2, 3, 1),
            DISCUSS["defences"],
            "results",
            "claims",
            "What may be claimed",
            reveal.defences,
            closing=why,
            method=FOCUS,
        ),
        Step(
            "costs",
            "What they cost",
            "A defence costs task accuracy, or it refuses harmless requests that look harmful "
            "(look-alikes). A method is at least as good as another only if it is so in all three: "
            "harm, task and look-alikes.",
            "Is any method at least as good as CWAC in all three, and better in one?",
            ("No, none is", "Yes, at least one"),
            (0, 1),
            DISCUSS["costs"],
            "results",
            "cost",
            "Harm against cost",
            costs,
            method=FOCUS,
        ),
    ],
)
