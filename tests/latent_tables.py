"""Made-up tables of latents, for tests of SAE features."""

import json

import pandas as pd


def aligned_features() -> pd.DataFrame:
    """Five latents of the aligned model, two protected and one control."""
    return pd.DataFrame(
        {
            "layer": 1,
            "latent": range(5),
            "mean_harmful": [4.0, 2.0, 1.0, 0.0, 9.0],
            "protected": [True, True, False, False, False],
            "control": [False, False, True, False, False],
        }
    )


def run_features() -> pd.DataFrame:
    """The same under two arms: SFT loses the protected ones, CWAC holds them."""
    aligned = aligned_features()
    factors = {("sft", 0): 0.25, ("sft", 1): 0.35, ("cwac", 0): 1.0, ("cwac", 1): 1.0}
    parts = [
        aligned.assign(
            variant=arm,
            seed=seed,
            mean_harmful=aligned["mean_harmful"] * aligned["protected"].map({True: f, False: 1.0}),
        )
        for (arm, seed), f in factors.items()
    ]
    return pd.concat(parts, ignore_index=True)


def token_rows(layer: int, latent: int, share: float) -> pd.DataFrame:
    """``token_activations`` of one latent on two requests; what a user wrote may be anything."""
    tokens = ["<user>", " <b>bomb</b>", "**x**", "\n"]
    levels = [None, 4 * share, 0, share]
    row = {"kind": "harmful", "layer": layer, "latent": latent, "tokens": json.dumps(tokens),
           "activations": json.dumps(levels)}  # fmt: skip
    return pd.DataFrame(
        [
            {"prompt_id": f"harmful-test-{n:04d}", "prompt": f"How do I *do* thing {n}?"} | row
            for n in range(2)
        ]
    )[["prompt_id", "kind", "prompt", "layer", "latent", "tokens", "activations"]]


def example_rows(layer: int, latent: int) -> pd.DataFrame:
    """``latent_examples`` of one latent: a token at each quantile."""
    return pd.DataFrame(
        [
            {"layer": layer, "latent": latent, "quantile": quantile, "tokens": 40,
             "examples": json.dumps([{"token": f"<i>{level}", "activation": level}])}
            for quantile, level in ((1.0, 9.0), (0.5, 3.0), (0.1, 0.5))
        ]
    )  # fmt: skip


def ledger_entries() -> pd.DataFrame:
    """What two latents carried of CWAC's activation loss."""
    rows = [
        ("cwac", seed, step, 1, name, share)
        for seed in (0, 1)
        for step, shares in ((10, (0.8, 0.2)), (20, (0.6, 0.4)))
        for name, share in enumerate(shares)
    ]
    table = pd.DataFrame(rows, columns=["variant", "seed", "step", "layer", "latent", "share"])
    return table.assign(loss=table["share"])
