"""The lesson as a page to print: the seven steps with the numbers of the experiment in view."""

from datetime import UTC, datetime
from typing import Final

import cwac
from cwac.analysis.claims import FOCUS
from cwac.arms import BASELINE
from cwac.handout import Handout, Section
from cwac.handout.words import DRIFT, LAB, PAPER
from cwac.ui.frame import Frame
from cwac.ui.glossary import GLOSSARY
from cwac.ui.sections import command_like
from cwac.ui.start.failures import failures
from cwac.ui.start.steps import STEPS, Step
from cwac.ui.start.why import why

CAUSE: Final = "So why do fine-tuned models stop refusing?"
"""What the numbers are asked last."""
_LEAD: Final = (
    f"{DRIFT}. Seven steps show it, what moves in the model meanwhile, and what defences do about "
    "it; their answers stand at the end, and close with what the numbers say of the cause."
)
_WORDS: Final = ("drift", "SFT", "poison ratio", "CWAC", "organism", "safety subspace",
                 "safety features", "harmful score", "look-alikes", "interval")  # fmt: skip
_CITED: Final = (f"{PAPER}: the method under study, reimplemented from its text.", f"{LAB}.")


def lesson_handout(frame: Frame) -> Handout:
    """Return the lesson: its questions, then every answer with its figure."""
    title = frame.experiments[0].title
    steps = list(enumerate(STEPS.values(), 1))
    sections = [_asked(number, step) for number, step in steps]
    sections += [_answer(frame, number, step) for number, step in steps]
    if cause := why(frame):
        sections.append(Section(CAUSE, cause))
    if any(record.variant == FOCUS for record in frame.experiments[0].records):
        sections.append(_where_it_fails(frame))
    methods = {record.arm.label for record in frame.experiments[0].records}
    commands = [command_like(frame, name) for name in (BASELINE, FOCUS) if name in methods]
    sections += [
        Section("Words", points=[f"{word}: {GLOSSARY[word]}" for word in _WORDS]),
        Section("The settings, as commands", code="\n".join(commands)),
        Section("To cite", points=_CITED),
    ]
    foot = f"CWAC Lab {cwac.__version__}, {datetime.now(UTC):%Y-%m-%d}; experiment {title} "
    foot += f"({frame.experiment_id})."
    return Handout("Why fine-tuned models stop refusing", f"{_LEAD}\n\nExperiment: {title}.",
                   sections, foot)  # fmt: skip


def _where_it_fails(frame: Frame) -> Section:
    found = failures(frame)
    drawn = None if found.figure is None else found.figure()
    points = [*found.table["sentence"], *found.notes] or ["In nothing that was tested here."]
    return Section("Where CWAC fails", "", drawn, found.reading, points=points)


def _asked(number: int, step: Step) -> Section:
    options = " / ".join(step.options[place] for place in step.order)
    asked = f"{step.text}\n\nPredict: {step.question} {options}."
    return Section(f"{number}. {step.title}", asked, points=[f"Discuss: {step.discuss}"])


def _answer(frame: Frame, number: int, step: Step) -> Section:
    """Return what a step reveals: after all questions, so that no page shows both."""
    title = f"Answer {number}: {step.title}"
    revealed = step.reveal(frame)
    if revealed is None:
        return Section(title, "This was not measured.")
    right = " or ".join(step.options[option] for option in sorted(revealed.right))
    other = revealed.experiment != frame.experiments[0].title
    origin = f" Numbers of {revealed.experiment}." if other else ""
    text = f"{right}. {revealed.sentence}{origin}"
    return Section(title, text, revealed.figure, revealed.reading)
