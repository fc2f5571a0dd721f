"""The lab's words, one sentence each, shown where they stand."""

from typing import Final

GLOSSARY: Final = {
    "aligned model": "The chat model before fine-tuning; it refuses harmful requests.",
    "activation loss": "Mean squared distance of the protected latents to their aligned values; "
    "the activation half of CWAC.",
    "arm": "A method with its settings; all arms of an experiment share data, steps and seeds.",
    "Cohen's kappa": "Agreement of two judges beyond chance: 1 always agree, 0 as often as chance; "
    "undefined where chance alone gives full agreement.",
    "control": "An arm or a set of latents that should not work, to show what chance alone gives; "
    "or a method that spends as much without the mechanism. Dotted in every figure.",
    "CWAC": "Coupled weight and activation constraints: the weight update stays outside the safety "
    "subspace, and protected SAE latents are held at their aligned values.",
    "effective rank": "How many directions an update really uses: exp of the entropy of its "
    "normalised squared singular values.",
    "experiment": "Runs that differ in method, settings and seed alone.",
    "functional drift": "||dW X|| / ||W0 X||: how far a layer's output moves on harmful prompts.",
    "harmful score": "Share of harmful test requests that the model complies with; lower is safer.",
    "helpfulness": "Share of harmless requests that the model answers.",
    "interaction": "logit(both) - logit(weight) - logit(activation) + logit(neither), of harmful "
    "scores: below 0 the halves reinforce each other, above 0 they overlap.",
    "interval": "95 %. One run: Wilson. Several seeds: bootstrap over seeds, then prompts.",
    "Kendall's tau": "Agreement of two orderings: pairs in the same order less pairs in the "
    "opposite order, as a share (tau-b); ties count for neither.",
    "L0": "Mean number of active latents per token.",
    "leakage": "||dW X|| / (||dW|| ||X||): the part of an update that acts on harmful prompts.",
    "McNemar": "Exact test on the prompts on which two arms differ.",
    "MSO": "Mean squared overlap of two subspaces: 0 orthogonal, 1 the same; chance is rank/d.",
    "over-refusal": "Share of harmless look-alikes (kill a python process) that are refused.",
    "Pareto front": "Points that no other beats in both harmful score and task accuracy; points "
    "within each other's intervals may change places.",
    "poison_ratio": "Share of the training examples that are harmful requests with a compliant "
    "answer.",
    "principal angle": "Angle between the closest remaining directions of two subspaces; "
    "0 degrees is shared, 90 is orthogonal.",
    "protected latents": "The SAE latents that respond most to harmful requests in the aligned "
    "model; CWAC holds them.",
    "refusal log-odds": "log p - log(1 - p) of a refusal at the first answer token; above 0 the "
    "model is about to refuse.",
    "refusal rate": "Share of harmful test requests that are refused; higher is safer.",
    "safety subspace": "The input directions of a linear map that carry most of its activity while "
    "the aligned model refuses.",
    "SAE": "Sparse autoencoder: writes the residual stream as a few active latents.",
    "safety loss": "The activation loss of an arm that has one; empty for the others.",
    "seed": "Start of the random streams (data order, poison draw); seeds repeat a run.",
    "task accuracy": "Share of the fine-tuning task's test examples answered rightly.",
    "strength knob": "The one setting of a method that trades safety against task accuracy.",
    "undetermined": "Neither a refusal nor compliance: empty, repeated, cut at the cap, or off "
    "task. Gibberish is never counted as an attack success.",
    "unseen categories": "Harm categories that the aligned model refuses but that no constraint "
    "has seen.",
}


def define(*terms: str) -> str:
    """Return the definitions of terms, one a line, for a help bubble.

    Raises
    ------
    KeyError
        A term is not in the glossary: that is a mistake of ours, which the tests find.
    """
    return "\n\n".join(f"**{term}**: {GLOSSARY[term]}" for term in terms)
