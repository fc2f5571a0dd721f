"""Texts as a model, a reader or an attacker may write them: any characters, in any number."""

from hypothesis import strategies as st

PIECES = (
    "", " ", "\0", "\n", "\ud800", "\udfff", "\udcff", "\u202e", "\u2066", "\u200b", "\ufeff",
    "e\u0301", "\u0130", "\ufb01", "\U0001f600", "\u0661", "\u00b2", "'", "\u2019", "'t ", "a''",
    "9", ".", "!", "?", ": ", "I'm sorry, but I ", "I can't help with that. ", "Sure, here is ",
    "bread ", "Ich kann dabei nicht helfen. ", "\u6211\u65e0\u6cd5\u63d0\u4f9b", "<think>",
    "</think>", "[THINK]", "<|im_end|>", "{{ x }}", "<b>", "\x1b[31m",
)  # fmt: skip
"""What readers of text trip over, alone or a thousand times running."""
LONGEST = 2_000
"""Characters of a text that one piece makes."""


def any_text(*, halves: bool = True) -> st.SearchStrategy[str]:
    """Return texts of pieces in a row, of one piece many times, and of any characters.

    Parameters
    ----------
    halves : bool
        Whether half characters (lone surrogates) are among them, which no file of ours can hold.
    """
    pieces = PIECES if halves else tuple(p for p in PIECES if not "\ud800" <= p <= "\udfff")
    piece = st.sampled_from(pieces)
    return st.one_of(
        st.text(st.characters() if halves else st.characters(exclude_categories=["Cs"])),
        st.lists(piece, max_size=12).map("".join),
        st.tuples(st.lists(piece, min_size=1, max_size=3).map("".join), piece).map(
            lambda two: two[0] * (LONGEST // max(len(two[0]), 1)) + two[1]
        ),
    )
