"""The words of every intervention, once: what it is called, asks and is compared with.

Interventions need torch and views must not: the command line, the figures and the pages read the
words here, and `cwac.interventions` has what is done under each name.
"""

from dataclasses import dataclass
from typing import Final

from cwac.registry import Registry

DIRECTIONS: Final = "Which directions of the update take the refusals away?"
PLACE: Final = "Which part of the model is enough to lose them?"
FEATURES: Final = "Do single features, or one direction, do it?"
KNOWN: Final = "What does the tuned model still know of harm and of refusing?"
GRADUAL: Final = "Is the loss gradual, as the theory of the constraint assumes?"
GROUPS: Final = (DIRECTIONS, PLACE, FEATURES, KNOWN, GRADUAL)
"""What interventions answer together, the most telling first."""


@dataclass(frozen=True)
class Words:
    """What is said of one intervention.

    Attributes
    ----------
    name : str
        That of its class in ``cwac.interventions``, which records and tables keep.
    title : str
        What is done, as a request.
    short : str
        Its name among the figures.
    question : str
        What it answers.
    control : str
        What it is compared with, without a capital and a full stop.
    is_chance : bool
        Whether that gives what chance alone gives; else some of it may well work, and stands there
        for comparison.
    meanings : str
        What the words in its figure mean, in sentences; empty where they need none.
    group : str
        The one of `GROUPS` that it helps to answer; empty where it has a figure of its own.
    explained : str
        In one sentence what is done, and what an effect would mean.
    """

    name: str
    title: str
    short: str
    question: str
    control: str
    is_chance: bool = True
    meanings: str = ""
    group: str = ""
    explained: str = ""


# fmt: off
INTERVENTION_WORDS: Final[Registry[Words]] = Registry("intervention", [
    Words("ends", "Both ends", "Both ends", "How far apart are the two models?",
          "none: every other intervention is read between these"),
    Words("restore", "Restore a part", "Restore", "What is necessary for the loss of refusals?",
          "random rows of all matrices with the same update norm"),
    Words("transplant", "Transplant a part", "Transplant",
          "What is sufficient for the loss of refusals?",
          "random rows of all matrices with the same update norm", group=PLACE,
          explained="One part's update alone is put into the aligned model; a part that takes more "
          "refusals away than a random set of the same size is enough for the loss."),
    Words("greedy_path", "Add parts greedily", "Greedy path", "How local is the damage?",
          "the same number of parts in a random order", group=PLACE,
          explained="Parts are put back one after another, the strongest first, until 90 % is "
          "back; few parts mean that the damage is local, many that it is spread."),
    Words("read_out", "Read out harm", "Read-out", "Can harm still be read out?",
          "shuffled labels",
          meanings="Own: a direction found in that model; aligned's on tuned: the aligned model's, "
          "read in the tuned one. AUROC: the share of pairs of a harmful request and a look-alike "
          "that it puts in the right order.", group=KNOWN,
          explained="In every layer a direction is sought that tells harmful requests from "
          "look-alikes; where one still does, the model knows of the harm and complies all the "
          "same."),
    Words("path", "Walk the path", "Path", "Is the aligned model in a basin or on a slope?",
          "a random direction of equal norm in every parameter", group=GRADUAL,
          explained="The weights are moved on the straight line from the aligned to the tuned "
          "model; a sudden fall of the refusals means a basin that tuning left, a steady one a "
          "slope."),
    Words("subspace_split", "Split by the subspace", "Subspace split",
          "Do the directions of the safety subspace carry the harm?",
          "random directions of equal rank or energy, which are chance; the directions of harmless "
          "requests and the least active ones, which are not", is_chance=False,
          meanings="Right: a part that leaves little is enough for the loss by itself. Energy: the "
          "squared norm of the part that is split off; rank: its number of directions. The least "
          "active directions are those that carry least while the model refuses.",
          group=DIRECTIONS,
          explained="The part of the update inside the safety subspace is taken out and all else "
          "stays tuned; refusals that come back, beyond what random directions bring back, were "
          "lost in that part."),
    Words("spectral_split", "Split by the spectrum", "Spectral split",
          "How many directions unlearn refusing?",
          "random directions of equal norm, and as many", group=DIRECTIONS,
          explained="Every matrix's update is rid of its few largest singular directions, or cut "
          "to them; where few bring the refusals back, or take them away alone, refusing was "
          "unlearned in few directions."),
    Words("decomposition", "Decompose the change", "Decomposition",
          "Is the theory's first-order premise true?",
          "harmless requests", is_chance=False,
          meanings="Points are means over the maps of a layer, whiskers run from the lowest to "
          "the highest map.", group=GRADUAL,
          explained="The change of every map's output is split into what arrives changed, what the "
          "map writes anew and the product of both; the theory behind the constraint drops the "
          "product, which is right only where it is small."),
    Words("patch_features", "Patch safety features", "Patched features",
          "Do the safety features mediate it?",
          "as many random latents, which are chance; the whole stream, the most that "
          "latents can return", is_chance=False, group=FEATURES,
          explained="In the tuned model the safety features are set to the values that they have "
          "in the aligned one; refusals that come back, beyond what random latents bring back, "
          "were lost through these features."),
    Words("clamp_latents", "Clamp single latents", "Clamped latents",
          "Which single latents move refusing?",
          "random latents of the same layer, held at the safety features' mean level",
          group=FEATURES,
          explained="Each safety feature alone is held at its aligned mean; one that moves "
          "refusing further than random latents do is a cause by itself."),
    Words("patch_residual", "Patch the residual", "Patched stream",
          "Where along the stream is it decided?",
          "the aligned stream of another harmful request, which may do as much, and of a harmless "
          "one", is_chance=False, group=PLACE,
          explained="At one layer and token the tuned residual stream is replaced by the aligned "
          "one; where that brings the refusals back, the choice to refuse stands in the stream "
          "there."),
    Words("refusal_direction", "Move the refusal direction", "Refusal direction",
          "Is one direction enough?",
          "a random direction of equal norm",
          meanings="Whether harmless requests are then refused too was not measured.",
          group=FEATURES,
          explained="The aligned model's refusal direction is added to the tuned stream, taken out "
          "of it, or turned back; where adding it brings the refusals back, the loss of this one "
          "direction explains theirs."),
    Words("prefill", "Prefill the answer", "Prefill", "How deep is the alignment?",
          "first tokens of a compliant answer, to a harmless request",
          meanings="KL: how far the tuned model's next token is from the aligned model's, which is "
          "0 where both expect the same.", group=KNOWN,
          explained="The tuned model's answer is begun with the first tokens of the aligned "
          "refusal; where it goes on refusing, only the first tokens of refusing were unlearned."),
])
# fmt: on
"""In the order in which interventions are made and listed."""
