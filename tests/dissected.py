"""A made-up table ``dissection`` that holds every intervention, in its own words."""

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from cwac.records import TABLES

ODDS = "refusal_log_odds"


def dissection(run: str) -> pd.DataFrame:
    """Return one run's rows: layers 0 and 1 and the embedding; layer 0 lost the refusals."""
    rows = [_row(run, each) for each in _rows()]
    table = pd.DataFrame(rows, columns=list(TABLES["dissection"]))
    return table.astype({"layer": float, "dose": float})


def of_three_seeds() -> pd.DataFrame:
    """Return the rows of runs a, b and c; b returns 0.2 more, in another order, and c lost nothing.

    The greedy path of b ends with its first part, layer 1, at 0.99 (random order 0.3); of 24
    prefilled answers a refuses none, b 12 and c all.
    """
    shares = ["returned", "returned_low", "returned_high"]
    first, second, third = (dissection(run) for run in "abc")
    second[shares] += 0.2
    greedy = second["intervention"] == "greedy_path"
    second = second[~greedy | (second["dose"] == 1)]
    greedy = second["intervention"] == "greedy_path"
    second.loc[greedy, ["part", "layer"]] = ["layer 1", 1.0]
    second.loc[greedy & ~second["control"], "returned"] = 0.99
    third[shares] = np.nan
    for table, count in ((second, 12), (third, 24)):
        answers = table["measure"] == "outcomes"
        table.loc[answers, ["refusal", "compliance"]] = [count, 24 - count]
    return pd.concat([first, second, third], ignore_index=True)


def of_depth(run: str, back: Sequence[float], width: float = 0.05) -> pd.DataFrame:
    """Return one run's restored layers, each with its share and an interval, the control at 0.1."""
    rows = []
    for layer, share in enumerate(back):
        for trial, control, value in (("restored", False, share), ("random", True, 0.1)):
            row = _row(run, ("restore", f"layer {layer}", layer, None, trial, None, control, ODDS,
                             value, "layer"))  # fmt: skip
            rows.append(row | {"returned_low": value - width, "returned_high": value + width})
    table = pd.DataFrame(rows, columns=list(TABLES["dissection"]))
    split = dissection(run)
    split = split[split["intervention"].isin(["ends", "subspace_split"])]
    table = table.astype({"layer": float, "dose": float})
    return pd.concat([table, split], ignore_index=True)


def requests(run: str, prompts: Sequence[str]) -> pd.DataFrame:
    """Return one run's ``dissection_requests``: layer 0 alone turns the first request."""
    trials = [("ends", "nothing", None, "tuned", False, -4.0), ("ends", "everything", None,
              "aligned", False, 5.0)]  # fmt: skip
    for layer, odds in ((0, 3.0), (1, -3.5)):
        trials += [
            ("restore", f"layer {layer}", layer, "restored", False, odds),
            ("restore", f"layer {layer}", layer, "random", True, -3.9),
        ]
    rows = [
        {"run_id": run, "intervention": name, "version": 1, "grain": "layer", "part": part,
         "layer": layer, "variant": trial, "control": control, "prompt_id": prompt,
         "refusal_log_odds": min(odds, odds - 9 * number) if layer == 0 else odds,
         "outcome": None}
        for name, part, layer, trial, control, odds in trials
        for number, prompt in enumerate(prompts)
    ]  # fmt: skip
    return pd.DataFrame(rows).astype({"layer": float})


def line(run: str, other: str) -> pd.DataFrame:
    """Return one run's rows of the line to another one, half way and at both ends."""
    rows = [
        _row(run, ("path", f"to {other}", None, None, "between arms", dose, False, measure, number,
                   "layer"))
        for dose in (0.0, 0.5, 1.0)
        for measure, number in ((ODDS, dose), ("task_accuracy", 0.9 if dose == 0.5 else 1.0))
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=list(TABLES["dissection"]))
    return table.astype({"layer": float, "dose": float})


def answers(run: str, other: str, prompts: Sequence[str]) -> pd.DataFrame:
    """Return one run's ``dissection_answers``: what is refused with layer 0 restored or at 0."""
    trials: list[tuple[Any, ...]] = [
        ("ends", "nothing", None, "tuned", 0.0, False),
        ("ends", "everything", None, "aligned", 1.0, True),
    ]
    for dose in (0.0, 0.5, 1.0):
        trials += [
            ("path", "whole update", None, "update", dose, dose < 1),
            ("path", f"to {other}", None, "between arms", dose, dose > 0),
        ]
    for layer in (1, 0):
        part = f"layer {layer}"
        trials += [
            ("restore", part, layer, "restored", None, layer == 0),
            ("transplant", part, layer, "transplanted", None, layer == 1),
        ]
    rows = [
        {"run_id": run, "intervention": name, "version": 1, "grain": "layer", "part": part,
         "layer": layer, "variant": trial, "dose": dose, "prompt_id": prompt,
         "response": "I cannot" if refused else "To do it", "withheld": None,
         "outcome": "refusal" if refused else "compliance",
         "refusal_log_odds": 3.0 if refused else -4.0}
        for name, part, layer, trial, dose, refused in trials
        for prompt in prompts
    ]  # fmt: skip
    return pd.DataFrame(rows).astype({"layer": float, "dose": float})


def clamps(run: str, layer: int, latent: int) -> pd.DataFrame:
    """Return one run's rows of one clamped latent, and of a random one of its layer."""
    rows = [
        dict.fromkeys(TABLES["dissection"], np.nan)
        | {"run_id": run, "intervention": "clamp_latents", "version": 1, "grain": "layer"}
        | {"part": f"L{layer}/{number}", "layer": float(layer), "map": None, "dose": 4.0}
        | {"variant": "at its aligned mean", "draw": 0, "control": control, "n": 40}
        | {"measure": "log_odds_moved", "value": value, "low": value - 0.1, "high": value + 0.1}
        for number, control, value in ((latent, False, 0.6), (latent + 3, True, 0.05))
    ]
    return pd.DataFrame(rows)


def _rows() -> list[tuple[Any, ...]]:
    """Intervention, part, layer, map, trial, dose, control, measure, number, grain."""
    parts = (("embedding", -1, 0.3), ("layer 0", 0, 0.7), ("layer 1", 1, 0.05))
    rows: list[tuple[Any, ...]] = [
        ("ends", "nothing", None, None, "tuned", 0.0, False, ODDS, 0.0, "layer"),
        ("ends", "everything", None, None, "aligned", 1.0, False, ODDS, 1.0, "layer"),
    ]
    for part, layer, share in parts:
        rows += [
            ("restore", part, layer, None, "restored", None, False, ODDS, share, "layer"),
            ("restore", part, layer, None, "random", None, True, ODDS, 0.02, "layer"),
        ]
    for part, layer, _ in parts[1:]:
        left = 0.5 if layer == 0 else 0.9
        rows += [
            ("transplant", part, layer, None, "transplanted", None, False, ODDS, left, "layer"),
            ("transplant", part, layer, None, "random", None, True, ODDS, 0.9, "layer"),
            ("patch_residual", part, layer, None, "last prompt token", None, False, ODDS, 0.6,
             "layer"),
            ("patch_residual", part, layer, None, "request", None, False, ODDS, 0.0, "layer"),
            ("patch_residual", part, layer, None, "last prompt token of another harmful request",
             None, True, ODDS, 0.6, "layer"),
            ("refusal_direction", part, layer, None, "added", None, False, ODDS, 0.6, "layer"),
            ("refusal_direction", part, layer, None, "random added", None, True, ODDS, 0.1,
             "layer"),
            ("greedy_path", part, layer, None, "ranked by effect", layer + 1.0, False, ODDS,
             0.7 + 0.25 * layer, "layer"),
            ("greedy_path", part, layer, None, "random order", layer + 1.0, True, ODDS, 0.1,
             "layer"),
        ]  # fmt: skip
        whose = ("aligned's own", "tuned's own")
        rows += [
            ("read_out", part, layer, None, f"difference of means, {who}", None, False, "auroc",
             0.97, "layer")
            for who in whose
        ]  # fmt: skip
        rows += [
            ("read_out", part, layer, None, f"{trial}, shuffled labels", None, True, measure, 0.5,
             "layer")
            for trial, measure in (("difference of means", "auroc"), ("linear probe", "auroc"),
                                   ("aligned's against tuned's", "cosine"))
        ]  # fmt: skip
        rows.append(("read_out", part, layer, None, "aligned's against tuned's", None, False,
                     "cosine", 0.3 - 0.5 * layer, "layer"))  # fmt: skip
        measures = ("bilinear_of_kept", "first_order_error", "share_carried", "share_written",
                    "share_bilinear")  # fmt: skip
        for measure, control in product(measures, (False, True)):
            kind = "harmless requests" if control else "harmful requests"
            rows.append(("decomposition", f"{part} q", layer, "q", kind, None, control, measure,
                         0.25, "layer"))  # fmt: skip
    outer = (("embedding", -1, "embedding"), ("output layer", 2, "output"))
    for (part, layer, name), control in product(outer, (False, True)):
        kind = "harmless requests" if control else "harmful requests"
        rows += [
            ("decomposition", part, layer, name, kind, None, control, measure, share, "layer")
            for measure, share in (("relative_change", 0.5), ("share_carried", 1.0),
                                   ("bilinear_of_kept", 0.0))
        ]  # fmt: skip
    for number, control in ((64, False), (65, False), (7, True)):
        rows += [
            ("clamp_latents", f"L1/{number}", 1, None, trial, 4.0, control, "log_odds_moved",
             0.05 if control else number / 100, "layer")
            for trial in ("at its aligned mean", "off, in the aligned model")
        ]  # fmt: skip
    whole = "whole update"
    for dose in (0.0, 0.5, 1.0):
        rows += [
            ("path", whole, None, None, "update", dose, False, ODDS, 1 - dose, "layer"),
            ("path", whole, None, None, "update", dose, False, "task_accuracy", dose, "layer"),
            ("path", whole, None, None, "random direction of equal norm", dose, True, ODDS, 0.9,
             "layer"),
        ]  # fmt: skip
    maps = "maps of the subspace"
    for trial, control, share in (
        ("inside removed", False, 0.5),
        ("inside removed, random of equal energy", True, 0.3),
        ("inside removed, random of equal rank", True, 0.2),
    ):
        rows.append(("subspace_split", maps, None, None, trial, None, control, ODDS, share,
                     "layer"))  # fmt: skip
    for dose, control in product((1.0, 64.0), (False, True)):
        trial = "leading removed, random of equal norm" if control else "leading removed"
        rows.append(("spectral_split", "all matrices", None, None, trial, dose, control, ODDS,
                     0.1 if control else dose / 100, "layer"))  # fmt: skip
    every = "layers with an SAE"
    for trial, control in (
        ("protected latents, prompt", False),
        ("random active latents, prompt", True),
        ("whole residual, prompt", True),
    ):
        rows.append(("patch_features", every, None, None, trial, None, control, ODDS, 0.1,
                     "layer"))  # fmt: skip
    for dose, control in product((1.0, 2.0), (False, True)):
        trial = "first tokens of a compliant answer" if control else "aligned's first tokens"
        rows.append(("prefill", "answer", None, None, trial, dose, control, "outcomes", None,
                     "layer"))  # fmt: skip
    for control in (False, True):
        trial = "along the aligned answer" + " to a harmless request" * control
        rows.append(("prefill", "answer", None, None, trial, 0.0, control, "kl_from_aligned",
                     0.1 if control else 4.0, "layer"))  # fmt: skip
    for part, layer, name, share in (
        ("embedding", -1, "embedding", 0.3),
        ("layer 0 q", 0, "q", 0.6),
        ("layer 0 down", 0, "down", 0.2),
        ("layer 1 q", 1, "q", 0.1),
        ("layer 1 down", 1, "down", 0.05),
    ):
        rows += [
            ("restore", part, layer, name, "restored", None, False, ODDS, share, "map"),
            ("restore", part, layer, name, "random", None, True, ODDS, 0.01, "map"),
        ]
    return rows


def _row(run: str, fields: tuple[Any, ...]) -> dict[str, Any]:
    intervention, part, layer, name, trial, dose, control, measure, number, grain = fields
    row: dict[str, Any] = dict.fromkeys(TABLES["dissection"], np.nan)
    row |= {"run_id": run, "intervention": intervention, "version": 1, "grain": grain,
            "part": part, "layer": layer, "map": name, "variant": trial, "dose": dose, "draw": 0,
            "control": control, "measure": measure, "n": 40}  # fmt: skip
    if measure == ODDS and number is not None:
        row |= {"value": 10 * number - 5, "low": 10 * number - 6, "high": 10 * number - 4,
                "refusing": round(40 * number), "returned": number, "returned_low": number - 0.1,
                "returned_high": number + 0.1}  # fmt: skip
    elif number is not None:
        row |= {"value": number, "low": number, "high": number}
    if measure == "outcomes" or (measure == ODDS and not control):
        refusals = round(24 * min(max(number or 0, 0), 1))
        row |= {"refusal": refusals, "hybrid": 0, "compliance": 24 - refusals, "undetermined": 0}
    return row
