"""What is trained: every weight, or LoRA adapters with their few settings; which arms cannot."""

from collections.abc import Sequence
from typing import Any, Final

import streamlit as st

from cwac.arms import title_of
from cwac.config import LoraConfig
from cwac.flags import setting
from cwac.messages import MethodEntry

KINDS: Final = {"full": "every weight", "lora": "LoRA adapters"}
TARGETS: Final = ("all", "ffn")
"""The words that stand for maps; paths inside a decoder layer may be typed besides."""
_KEEP: Final = "session"


def adapter_form(default: Any) -> tuple[str | None, list[str]]:
    """Draw the fields and return the adapter's kind, None for the default, and its settings.

    Parameters
    ----------
    default : str or mapping
        ``training.adapter`` as the model's card has it.
    """
    usual = default if isinstance(default, str) else "lora"
    left, *rest = st.columns([4, 2, 2, 3])
    kind = left.segmented_control(
        "What is trained",
        list(KINDS),
        default=usual,
        # In a narrow window the longer words would be cut.
        format_func={**KINDS, "lora": "LoRA"}.__getitem__,
        wrap=True,
        key="run_adapter",
        persist_state=_KEEP,
        required=True,
        help="LoRA (Hu et al. 2022) trains two small matrices beside each fixed weight. A "
        "constraint then acts on the maps that have an adapter.",
    )
    if kind != "lora":
        return (None if kind == usual else "full"), []
    card = LoraConfig() if isinstance(default, str) else LoraConfig.model_validate(default)
    rank = rest[0].number_input(
        "Rank",
        min_value=1,
        value=None,
        step=1,
        placeholder=f"default: {card.rank}",
        key="run_lora_rank",
        persist_state=_KEEP,
        help="Rows of A and columns of B in the change (alpha / rank) B A.",
    )
    alpha = rest[1].number_input(
        "Alpha",
        min_value=0.01,
        value=None,
        format="%g",
        placeholder=f"default: {card.alpha:g}",
        key="run_lora_alpha",
        persist_state=_KEEP,
        help="Numerator of the factor on B A. A larger learning rate than for every weight is "
        "usual, ten times and more.",
    )
    targets = rest[2].multiselect(
        "Targets",
        list(TARGETS),
        accept_new_options=True,
        placeholder=f"default: {', '.join(card.targets)}",
        key="run_lora_targets",
        persist_state=_KEEP,
        help="Maps with an adapter: all linear ones, the ffn output projections, or paths inside a "
        "decoder layer (self_attn.q_proj) that you type.",
    )
    given = {"rank": rank, "alpha": alpha, "targets": list(targets) or None}
    settings = [
        setting(f"training.adapter.{name}", value)
        for name, value in given.items()
        if value is not None
    ]
    return (None if usual == "lora" else "lora"), settings


def impossible(methods: Sequence[MethodEntry], chosen: Sequence[str], kind: str) -> str | None:
    """Return why some of the chosen arms cannot be trained so, None where all can.

    Parameters
    ----------
    methods : sequence of MethodEntry
        All that the lab has.
    kind : str
        ``full`` or ``lora``.

    Examples
    --------
    >>> impossible([MethodEntry(name="salora", adapters=("lora",))], ["salora"], "full")
    'SaLoRA does not work when every weight is trained: choose LoRA adapters, or leave it out.'
    """
    names = [
        title_of(entry.name)
        for entry in methods
        if entry.name in chosen and kind not in entry.adapters
    ]
    if not names:
        return None
    verb, it = ("does", "it") if len(names) == 1 else ("do", "them")
    when = "with LoRA adapters" if kind == "lora" else "when every weight is trained"
    other = KINDS["full" if kind == "lora" else "lora"]
    return f"{', '.join(names)} {verb} not work {when}: choose {other}, or leave {it} out."
