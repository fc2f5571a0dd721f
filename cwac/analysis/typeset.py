"""Tables as Markdown and as LaTeX, for papers and notes.

Stands alone because commands and pages export tables alike; pandas has both, by way of packages
that the lab does not ask for.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import pandas as pd

Write = Callable[[Sequence[str], Sequence[Sequence[str]]], str]
"""From a head and rows to a table as text: `markdown` or `latex`."""
_SPECIAL: Final = (
    {c: f"\\{c}" for c in "%&_#$"}
    | {"<": "$<$", ">": "$>$", "^": r"\^{}", "~": r"\~{}"}
    | {"{": r"\{", "}": r"\}", "\\": r"\textbackslash{}"}
)


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown.

    Examples
    --------
    >>> print(markdown(["arm", "rate"], [["cwac", "1 %"]]), end="")
    | arm | rate |
    | --- | --- |
    | cwac | 1 % |
    """
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(map(_in_markdown, line))} |\n" for line in lines)


def _in_markdown(cell: str) -> str:
    return " ".join(cell.replace("|", "/").split())


def latex(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    r"""Return a table in LaTeX, with the rules of booktabs.

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
    return (
        f"% needs \\usepackage{{booktabs}}\n\\begin{{tabular}}{{{'l' * len(head)}}}\n\\toprule\n"
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
