"""The words of every intervention, once: what it is called, asks and is compared with.

Interventions need torch and views must not: the command line, the figures and the pages read the
words here, and `cwac.interventions` has what is done under each name.
"""

from dataclasses import dataclass
from typing import Final

from cwac.registry import Registry


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
    """

    name: str
    title: str
    short: str
    question: str
    control: str
    is_chance: bool = True
    meanings: str = ""


# fmt: off
INTERVENTION_WORDS: Final[Registry[Words]] = Registry("intervention", [
    Words("ends", "Both ends", "Both ends", "How far apart are the two models?",
          "none: every other intervention is read between these"),
    Words("restore", "Restore a part", "Restore", "What is necessary for the loss of refusals?",
          "random rows of all matrices with the same update norm"),
    Words("transplant", "Transplant a part", "Transplant",
          "What is sufficient for the loss of refusals?",
          "random rows of all matrices with the same update norm"),
    Words("greedy_path", "Add parts greedily", "Greedy path", "How local is the damage?",
          "the same number of parts in a random order"),
    Words("read_out", "Read out harm", "Read-out", "Can harm still be read out?",
          "shuffled labels"),
    Words("path", "Walk the path", "Path", "Is the aligned model in a basin or on a slope?",
          "a random direction of equal norm in every parameter"),
    Words("subspace_split", "Split by the subspace", "Subspace split",
          "Do the protected directions carry the harm?",
          "random directions of equal rank or energy, which are chance; the directions of harmless "
          "requests and the trailing ones, which are not", is_chance=False,
          meanings="Inside: what the update does to activations along the protected directions; "
          "outside: the rest. Removed: all else stays tuned; only: all else is aligned. Trailing: "
          "the directions that are least active while the model refuses. Energy: the squared norm "
          "of the part of the update that is taken out."),
    Words("spectral_split", "Split by the spectrum", "Spectral split",
          "How many directions unlearn refusing?",
          "random directions of equal norm (until version 3 scaled up to it), and as many"),
    Words("decomposition", "Decompose the change", "Decomposition",
          "Is the theory's first-order premise true?",
          "harmless requests", is_chance=False,
          meanings="Carried: what arrives changed; written: what the map itself writes anew; "
          "bilinear: what both make together. The embedding reads the same tokens in both models, "
          "so that all of its change is written; where it stands still it has no mark. The "
          "output layer's change is that of the logits, each less their mean over the "
          "vocabulary, on which no probability depends. Dissections of version 1 have neither, nor "
          "the size of the change."),
    Words("patch_features", "Patch safety features", "Patched features",
          "Do the safety features mediate it?",
          "as many random active latents, which are chance; the whole stream, the most that "
          "latents can return", is_chance=False),
    Words("clamp_latents", "Clamp single latents", "Clamped latents",
          "Which single latents move refusing?",
          "random active latents of the same layer, held at the protected ones' mean level"),
    Words("patch_residual", "Patch the residual", "Patched stream",
          "Where along the stream is it decided?",
          "the aligned stream of another harmful request, which may do as much, and of a harmless "
          "one", is_chance=False),
    Words("refusal_direction", "Move the refusal direction", "Refusal direction",
          "Is one direction enough?",
          "a random direction of equal norm"),
    Words("prefill", "Prefill the answer", "Prefill", "How deep is the alignment?",
          "first tokens of a compliant answer, to a harmless request"),
])
# fmt: on
"""In the order in which interventions are made and listed."""
