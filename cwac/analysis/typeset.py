"""Tables as Markdown and as LaTeX, for papers and notes.

Stands alone because commands and pages export tables alike; pandas has both, by way of packages
that the lab does not ask for.
"""

import math
from collections.abc import Sequence
from typing import Any, Final, Protocol

import pandas as pd


class Write(Protocol):
    """`markdown` or `latex`."""

    def __call__(
        self, head: Sequence[str], rows: Sequence[Sequence[str]], said: Sequence[str] = ()
    ) -> str:
        """Return a table from its head and rows as text, with what is said of it."""


_SPECIAL: Final = (
    {c: f"\\{c}" for c in "%&_#$"}
    | {"<": "$<$", ">": "$>$", "^": r"\^{}", "~": r"\~{}"}
    | {"{": r"\{", "}": r"\}", "\\": r"\textbackslash{}"}
)


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]], said: Sequence[str] = ()) -> str:
    """Return a table in Markdown, what is said of it beneath.

    Examples
    --------
    >>> print(markdown(["arm", "rate"], [["cwac", "1 %"]]), end="")
    | arm | rate |
    | --- | --- |
    | cwac | 1 % |
    """
    lines = [head, ["---"] * len(head), *rows]
    table = "".join(f"| {' | '.join(map(_in_markdown, line))} |\n" for line in lines)
    return table + "".join(f"\n{' '.join(text.split())}\n" for text in said)


def _in_markdown(cell: str) -> str:
    return " ".join(cell.replace("|", "/").split())


def latex(head: Sequence[str], rows: Sequence[Sequence[str]], said: Sequence[str] = ()) -> str:
    r"""Return a table in LaTeX, with the rules of booktabs; what is said of it are comments.

    Examples
    --------
    >>> print(latex(["arm", "rate"], [["cwac_paper", "1 %"]]), end="")
    % needs \usepackage{booktabs}
    \begin{tabular}{ll}
    \toprule
    arm & rate \\
    \midrule
    cwac\_paper & 1 \% \\
    \bottomrule
    \end{tabular}
    """
    lines = [" & ".join(map(_in_latex, line)) + r" \\" for line in [head, *rows]]
    inner = "\n".join([lines[0], r"\midrule", *lines[1:]])
    comments = "".join(f"% {' '.join(text.split())}\n" for text in said)
    return (
        f"{comments}% needs \\usepackage{{booktabs}}\n"
        f"\\begin{{tabular}}{{{'l' * len(head)}}}\n\\toprule\n"
        f"{inner}\n\\bottomrule\n\\end{{tabular}}\n"
    )


def _in_latex(cell: str) -> str:
    return "".join(_SPECIAL.get(character, character) for character in " ".join(cell.split()))


def cells(data: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Return a table's head and rows as text: four significant digits, nothing where it is missing.

    Examples
    --------
    >>> cells(pd.DataFrame({"variant": ["sft", "cwac"], "value": [0.96012, None]}))
    (['variant', 'value'], [['sft', '0.9601'], ['cwac', '']])
    """
    return list(map(str, data.columns)), [list(map(_text, row)) for row in data.to_numpy(object)]


def _text(value: Any) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
