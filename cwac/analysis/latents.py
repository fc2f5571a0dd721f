"""Latents one by one: what fires each, what it promotes, what became of it, and how to find it."""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import pandas as pd

from cwac.analysis.features import NOT_HELD
from cwac.analysis.interventions import of_runs
from cwac.arms import Arm, by_label

CLAMP: Final = "clamp_latents"
DENSE: Final = 0.5
"""Share of all tokens above which a latent fires too often to say anything of one request."""
QUANTILES: Final = {1.0: "top", 0.5: "median", 0.1: "low"}
"""What examples at these quantiles of a latent's activations are called."""
_EXAMPLE: Final = {"context_before": "", "token": "", "context_after": "", "activation": None}
_LIMIT: Final = re.compile(r"(?i)\b(change|density)\s*([<>])\s*(-?\d{1,6}(?:\.\d{1,6})?)\s*%?")
"""What asks for latents by how far they moved or how often they fire, in per cent."""
ROLES: Final = {
    "protected": "safety features",
    "control": "random latents (control)",
    "other": "other latents that fire",
    "all": "all latents",
}
"""What lists of latents are called, by what they are stored as and named in links."""
ONE: Final = {"protected": "safety", "control": "random", "other": "other"}
"""What a latent of such a list is called."""


def latent_list(drift: pd.DataFrame, latents: pd.DataFrame) -> pd.DataFrame:
    """Return every latent that fires, with what became of it under one arm, the most lost first.

    Parameters
    ----------
    drift : DataFrame
        Result of ``cwac.analysis.features.feature_drift``, of one arm.
    latents : DataFrame
        ``latents`` of the features' fit; may be empty.

    Returns
    -------
    DataFrame
        ``layer``, ``latent``, ``role``, ``before``, ``after``, ``change`` (after over before - 1,
        mean over seeds), ``tokens`` (that fire it most, once each), ``promoted``, ``density``
        (share of tokens that it fires on), ``dense``. Missing is what the fit does not hold.
    """
    keys = ["layer", "latent"]
    table = drift.groupby([*keys, "protected", "control"])[["before", "after"]].mean().reset_index()
    table["change"] = table["after"] / table["before"].where(table["before"] > 0) - 1
    table["role"] = "other"
    table.loc[table["control"], "role"] = "control"
    table.loc[table["protected"], "role"] = "protected"
    known = latents.reindex(columns=[*keys, "top_tokens", "promoted_tokens", "frequency"])
    table = table.merge(known, on=keys, how="left")
    fires = (table["before"] > 0) | (table["after"] > 0) | (table["frequency"] > 0)
    # Most of a wide SAE never fires: what is left out is not parsed.
    table = table[fires].copy()
    examples, pairs = table["top_tokens"].map(firing), table["promoted_tokens"].map(promoted)
    table["tokens"] = [_once(entry["token"] for entry in mine) for mine in examples]
    table["promoted"] = [_once(token for token, _ in mine) for mine in pairs]
    table["density"] = table["frequency"]
    table["dense"] = table["density"] > DENSE
    table["lost"] = table["after"] - table["before"]
    names = [*keys, "role", "before", "after", "change", "tokens", "promoted", "density", "dense"]
    return table.sort_values("lost", kind="stable")[names].reset_index(drop=True)


def latents_matching(table: pd.DataFrame, role: str, text: str) -> pd.DataFrame:
    """Return the rows of a `latent_list` of one of `ROLES` that a text asks for.

    Parameters
    ----------
    text : str
        An id, or what stands among the tokens; beside it or alone ``change<-50`` and
        ``density<5``, with ``<`` or ``>``, in per cent.
    """
    keep = (table["role"] == role) | (role == "all")
    for column, sign, limit in _LIMIT.findall(text):
        values, most = 100 * table[column.lower()], float(limit)
        # A missing number is neither above nor below.
        keep &= values < most if sign == "<" else values > most
    wanted = " ".join(_LIMIT.sub(" ", text).casefold().split())
    if wanted:
        number = table["latent"].astype(str)
        label = "l" + table["layer"].astype(str) + "/" + number
        tokens = (table["tokens"] + " " + table["promoted"]).str.casefold()
        keep &= (number == wanted) | (label == wanted) | tokens.str.contains(wanted, regex=False)
    return table[keep]


def most_lost(table: pd.DataFrame) -> tuple[int, int] | None:
    """Return layer and latent to begin with: the safety feature that lost most and is not dense."""
    for rows in (
        table[(table["role"] == "protected") & ~table["dense"]],
        table[table["role"] == "protected"],
        table,
    ):
        if len(rows):
            return int(rows["layer"].iloc[0]), int(rows["latent"].iloc[0])
    return None


def holders(drift: pd.DataFrame, arms: Sequence[Arm]) -> tuple[list[Arm], list[Arm]] | None:
    """Return the arms that hold a latent and those that lost it, None where it never fired.

    Parameters
    ----------
    drift : DataFrame
        Rows of ``cwac.analysis.features.feature_drift`` about one latent.

    Notes
    -----
    Lost, as everywhere: the mean activation on harmful test requests, over the arm's seeds, fell
    by more than ``NOT_HELD`` of the aligned model's.
    """
    means = drift.groupby("variant")[["before", "after"]].mean()
    if means.empty or not (means["before"] > 0).any():
        return None
    lost = set(means.index[means["after"] < (1 - NOT_HELD) * means["before"]])
    named = [arm for label, arm in by_label(arms).items() if label in means.index]
    return [a for a in named if a.label not in lost], [a for a in named if a.label in lost]


def clamped(
    dissection: pd.DataFrame, runs: Mapping[str, Arm], seeds: Mapping[str, int], layer: int
) -> pd.DataFrame:
    """Return what clamping single latents of a layer does, a row per latent, trial and run.

    Parameters
    ----------
    dissection, runs, seeds
        As of `cwac.analysis.interventions.of_runs`.

    Returns
    -------
    DataFrame
        ``variant``, ``seed``, ``latent`` (its label, ``L2/341``), ``trial``, ``dose`` (what it was
        clamped to), ``control``, ``value, low, high`` (nats by which the refusal log-odds move),
        ``n``.
    """
    rows = dissection[(dissection["intervention"] == CLAMP) & (dissection["layer"] == layer)]
    named = of_runs(rows, runs, seeds).rename(columns={"part": "latent"})
    columns = ["variant", "seed", "latent", "trial", "dose", "control", "value", "low", "high", "n"]
    return named[columns].reset_index(drop=True)


def neighbours(text: object) -> list[tuple[int, float]]:
    """Return the stored nearest latents of a latent with their cosines, none where broken."""
    pairs = [entry for entry in _parsed(text) if isinstance(entry, list) and len(entry) == 2]
    return [(int(latent), float(cosine)) for latent, cosine in pairs]


def firing(text: object) -> list[dict[str, Any]]:
    """Return the stored examples of a latent: token, context, activation; none where broken."""
    return [_EXAMPLE | entry for entry in _parsed(text) if isinstance(entry, dict)]


def examples_of(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a latent's stored examples, the strongest first.

    Parameters
    ----------
    rows : DataFrame
        ``latent_examples`` of one latent.

    Returns
    -------
    DataFrame
        ``level`` (top, median, low), ``context_before, token, context_after, activation``.
    """
    examples = [
        # Stored with single precision.
        {"level": QUANTILES.get(round(quantile, 3), f"{quantile:.0%}"), **entry}
        for quantile, text in sorted(
            zip(rows["quantile"].tolist(), rows["examples"], strict=True), reverse=True
        )
        for entry in sorted(firing(text), key=lambda e: -(_number(e["activation"]) or 0))
    ]
    return pd.DataFrame(examples, columns=["level", *_EXAMPLE])


def at_tokens(rows: pd.DataFrame) -> pd.DataFrame:
    """Return what a latent does at each token, from stored rows of one request and latent.

    Parameters
    ----------
    rows : DataFrame
        ``token_activations`` with ``variant`` and ``seed``: a row a model.

    Returns
    -------
    DataFrame
        ``variant, seed, place`` (from 1), ``token, activation``; a model whose row is broken is
        left out. Missing is the first token's activation, which is not read.
    """
    parts = []
    for row in rows.to_dict("records"):
        tokens, levels = _parsed(row["tokens"]), _parsed(row["activations"])
        if tokens and len(tokens) == len(levels):
            numbers = pd.Series([_number(level) for level in levels], dtype="float64")
            part = pd.DataFrame({"token": list(map(str, tokens)), "activation": numbers})
            part.insert(0, "place", range(1, len(part) + 1))
            parts.append(part.assign(variant=row["variant"], seed=row["seed"]))
    columns = ["variant", "seed", "place", "token", "activation"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def promoted(text: object) -> list[tuple[str, float]]:
    """Return the stored output tokens that a latent makes likelier, none where broken."""
    pairs = [entry for entry in _parsed(text) if isinstance(entry, list) and len(entry) == 2]
    return [(str(token), float(logit)) for token, logit in pairs]


def _parsed(text: object) -> list[Any]:
    # One broken entry must not end the page.
    try:
        parsed = json.loads(text) if isinstance(text, str) else []
    except ValueError:
        return []
    return parsed if isinstance(parsed, list) else []


def _number(value: object) -> float | None:
    """Return a stored number, None for whatever is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _once(tokens: Iterable[object]) -> str:
    return " ".join(dict.fromkeys(str(token).strip() for token in tokens))
