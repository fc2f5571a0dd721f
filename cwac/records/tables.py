"""The tables of a run, a fit or an experiment: their columns."""

from typing import Final

# Column kinds: s text, i integer, f float, b boolean; a trailing ? allows missing values.
TABLES: Final[dict[str, dict[str, str]]] = {
    # One row per test request or task example; also the aligned model's (reference).
    "responses": {
        "prompt_id": "s",
        "kind": "s",  # harmful, harmless, lookalike, task
        "category": "s?",
        "unseen_category": "b",
        "novel_template": "b",
        "prompt": "s",
        "response": "s",  # without a thinking trace
        "thought": "s?",  # the trace
        "withheld": "s?",  # what stands for a text that does not ship: its length and hash
        "outcome": "s",
        "reason": "s?",
        "general_outcome": "s",  # the general phrase rule, beside the model's own patterns
        "general_reason": "s?",
        "refusal_log_odds": "f?",
        "expected": "s?",  # task rows: the right answer
        "correct": "b?",  # task rows
    },
    # Further answers to the harmful test requests, where the evaluation asks for them.
    "samples": {
        "prompt_id": "s",
        "way": "s",  # sampled (temperature 1), prefilled (behind given first words), or a framing
        "sample": "i",
        "outcome": "s",
        "reason": "s?",
        "response": "s?",  # of the first sample alone: the texts would be most of a run
    },
    # Harmful score along further training on harmful requests, from the finished model on.
    "relearning": {"step": "i", "harmful_score": "f", "n": "i", "low": "f", "high": "f"},
    # Along training, about ten probes; inside/outside are Frobenius norms of dW, pooled.
    "trajectory": {
        "step": "i",
        "task_loss": "f?",
        "safety_loss": "f?",
        "safety_loss_normalised": "f?",
        "gradient_norm": "f?",
        "learning_rate": "f?",
        "refusal_log_odds": "f?",
        "refusal_rate": "f?",
        "refusal_n": "i?",
        "refusal_low": "f?",
        "refusal_high": "f?",
        "drift_inside": "f?",
        "drift_outside": "f?",
    },
    # Of a few of a probe's requests what was answered; runs made earlier have no such table.
    "probe_answers": {
        "step": "i",
        "prompt_id": "s",  # of the validation split
        "category": "s?",
        "prompt": "s",
        "response": "s?",  # the first words; missing where it was withheld
        "digest": "s",  # the first 16 digits of their SHA-256
        "tokens": "i",
        "outcome": "s",
        "refusal_log_odds": "f?",
    },
    # What the method itself says of the step before a probe; runs made earlier have no such table.
    "method_diagnostics": {"step": "i", "name": "s", "value": "f"},
    "weight_drift": {
        "layer": "i",
        "map": "s",
        "yardstick": "b",  # whether the map is one of the yardstick's
        "d_in": "i",
        "d_out": "i",
        "rank": "i",  # protected directions
        "delta_norm": "f",
        "weight_norm": "f",
        "relative_norm": "f",
        "spectral_norm": "f",
        "effective_rank": "f",
        "inside_energy": "f?",  # share of ||dW||^2 inside the safety subspace
        "random_energy": "f",  # rank / d_in
        "functional_drift": "f?",  # ||dW X|| / ||W0 X||, held-out harmful requests
        "leakage_fit": "f?",  # ||dW X|| / (||dW|| ||X||), fitting prompts
        "leakage_heldout": "f?",  # prompt tokens of the harmful test requests
        "leakage_heldout_fitted": "f?",  # the kind of tokens that the subspace is fitted on
    },
    # Embedding and output layer, which are no maps of a decoder layer.
    "outer_drift": {
        "part": "s",  # embedding, output
        "tied": "b",  # whether both are one parameter
        "d_in": "i",
        "d_out": "i",
        "rank": "i",  # protected directions
        "delta_norm": "f",
        "weight_norm": "f",
        "relative_norm": "f",
        "inside_energy": "f?",  # of the output layer, where the yardstick has it
        "random_energy": "f",  # rank / d_in
        "functional_drift": "f?",  # ||dW X|| / ||W0 X||, held-out harmful requests
    },
    "singular_values": {"layer": "i", "map": "s", "index": "i", "value": "f"},
    # One row per layer, map and side: update's leading directions against the safety subspace.
    "subspace_overlap": {
        "layer": "i",
        "map": "s",
        "side": "s",  # input (right) or output (left)
        "k_update": "i",
        "k_safety": "i",
        "dimension": "i",
        "mso": "f",
        "haar_baseline": "f",
        "random_mso": "f",  # against a random subspace of equal rank
    },
    "principal_angles": {
        "layer": "i",
        "map": "s",
        "side": "s",
        "index": "i",
        "degrees": "f",
        "random_degrees": "f",
    },
    # Every latent; float32. Also the aligned model's (reference).
    "features": {
        "layer": "i",
        "latent": "i",
        "mean_harmful": "f",
        "mean_harmless": "f",
        "mean_lookalike": "f?",
        "frequency_harmful": "f",
        "frequency_harmless": "f",
        "frequency_lookalike": "f?",
        "protected": "b",
        "control": "b",  # one of 100 random active latents
    },
    # Histograms of the safety features' activations at the scored tokens.
    "feature_histograms": {
        "layer": "i",
        "latent": "i",
        "kind": "s",
        "low": "f",
        "high": "f",
        "count": "i",
    },
    # Safety features at every token of a few test requests, templated; also the aligned model's
    # (reference). Runs made earlier have no such table.
    "token_activations": {
        "prompt_id": "s",
        "kind": "s",
        "prompt": "s",
        "layer": "i",
        "latent": "i",
        "tokens": "s",  # JSON: [text of a token, ...]
        "activations": "s",  # JSON: [activation, ...], null at the first token, which is not read
    },
    "sae_quality": {
        "layer": "i",
        "explained_variance": "f",
        "l0": "f",
        "cross_entropy_gap": "f",
        "dead_fraction": "f?",
        "tokens": "i",
    },
    "feature_ledger": {
        "step": "i",
        "layer": "i",
        "latent": "i",
        "loss": "f",  # this latent's squared distance, mean over prompts
        "share": "f?",  # of the total at this step
    },
    # Per harmful test request and layer: the lenses of the Requests page.
    "prompt_lenses": {
        "prompt_id": "s",
        "layer": "i",
        "leak": "f?",  # ||dW x|| / ||W0 x|| at the last prompt token, pooled over the maps
        "feature_shift": "f?",  # safety features' change over their aligned norm
    },
    # Fits (shared by the arms).
    "eigenvalues": {"layer": "i", "map": "s", "index": "i", "eigenvalue": "f", "kept": "b"},
    "subspace_quality": {
        "layer": "i",
        "map": "s",
        "d_in": "i",
        "rank": "i",
        "tokens": "i",
        "outside_energy_fit": "f",  # ||X - U U^T X||^2 / ||X||^2
        "outside_energy_heldout": "f?",  # prompt tokens of the harmful test requests
        "outside_energy_heldout_fitted": "f?",  # the kind of tokens that it is fitted on
    },
    "latents": {
        "layer": "i",
        "latent": "i",
        "protected": "b",
        "control": "b",
        "score": "f",
        "frequency": "f",
        "top_tokens": "s",  # JSON: [{token, context_before, context_after, activation}, ...]
        "promoted_tokens": "s",  # JSON: [[token, logit], ...]
        "pca_x": "f?",
        "pca_y": "f?",
        "umap_x": "f?",
        "umap_y": "f?",
    },
    # Of the protected and the control latents: what else their cards say; earlier fits lack it.
    "latent_cards": {
        "layer": "i",
        "latent": "i",
        "suppressed_tokens": "s",  # as promoted_tokens, of those made less likely
        "neighbours": "s",  # JSON: [[latent, cosine of the decoder directions], ...], same layer
    },
    # Of the same latents: tokens at some quantiles of what fires them; earlier fits lack it.
    "latent_examples": {
        "layer": "i",
        "latent": "i",
        "quantile": "f",  # of its activations above 0, over the tokens of requests and answers
        "tokens": "i",  # how many fire it
        "examples": "s",  # as top_tokens: those nearest to the quantile, no conversation twice
    },
    # An adaptive attacker's order of the attack pool, the best example first.
    "attack_examples": {
        "prompt_id": "s",
        "outside_energy": "f",  # share of its gradient outside U
        "latent_activity": "f",  # squared codes of the safety features at its scored tokens
    },
    # Further judges' verdicts on the stored answers of an experiment's runs (cwac judge); the
    # aligned model's answers have the run id "aligned".
    "judgements": {
        "run_id": "s",
        "prompt_id": "s",
        "kind": "s",
        "judge": "s",
        "contents": "s",  # hash of the judge
        "outcome": "s",
        "reason": "s?",
    },
    # What interventions on a kept run's weights and activations do (cwac dissect).
    "dissection": {
        "run_id": "s",
        "intervention": "s",
        "version": "i",
        "grain": "s",  # layer, map, or set: parts that the user named
        "part": "s",  # what is acted on
        "layer": "i?",  # -1 the embedding, the number of layers what comes after them
        "map": "s?",
        "variant": "s",  # what is done, or by what it is controlled
        "dose": "f?",
        "draw": "i",  # of a random control, from 0
        "control": "b",
        "measure": "s",  # what `value` is
        "value": "f?",
        "low": "f?",
        "high": "f?",
        "n": "i",
        "refusing": "i?",  # of n: requests whose first token is rather a refusal's than not
        "returned": "f?",  # share of the lost log-odds that is back; missing where none was lost
        "returned_low": "f?",
        "returned_high": "f?",
        "refusal": "i?",  # outcomes on the sample
        "hybrid": "i?",
        "compliance": "i?",
        "undetermined": "i?",
    },
    # What some of these do to each harmful test request, by layer.
    "dissection_requests": {
        "run_id": "s",
        "intervention": "s",
        "version": "i",
        "grain": "s",
        "part": "s",
        "layer": "i?",
        "variant": "s",
        "control": "b",
        "prompt_id": "s",
        "refusal_log_odds": "f?",
        "outcome": "s?",  # where the request is one of the sample's
    },
    # What a few of the sample's requests are answered there; earlier dissections lack it.
    "dissection_answers": {
        "run_id": "s",
        "intervention": "s",
        "version": "i",
        "grain": "s",
        "part": "s",
        "layer": "i?",
        "variant": "s",
        "dose": "f?",
        "prompt_id": "s",
        "response": "s",
        "withheld": "s?",  # as in `responses`
        "outcome": "s",
        "refusal_log_odds": "f?",
    },
    # About pairs of runs of one experiment.
    "pair_overlap": {
        "run_a": "s",
        "run_b": "s",
        "layer": "i",
        "map": "s",
        "side": "s",
        "mso": "f",
        "haar_baseline": "f",
        "mean_degrees": "f",
    },
}

LATER_COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "responses": ("thought", "withheld"),
    "weight_drift": ("leakage_heldout_fitted",),
    "subspace_quality": ("outside_energy_heldout_fitted",),
}
"""Columns that tables got after runs were stored: where a file lacks them they read as missing."""

OUTER_MAPS: Final = ("embedding", "output")
"""What the maps outside of the decoder's layers are called, as a ``part`` or as a ``map``."""
WHOLE_UPDATE: Final = "whole update"
"""The ``part`` of a dissection's rows about all of a run's update, as along its path."""
BETWEEN_ARMS: Final = "between arms"
"""The ``variant`` of a dissection's rows about the line to another run, which their part names: a
run has as many such lines as it was compared along."""


def line_to(other: str) -> str:
    """Return the ``part`` of a dissection's rows about the line to another run."""
    return f"to {other}"
