"""What pure functions return, computed once per contents of their arguments.

A figure is drawn anew only when its table, its arms or its settings changed: to build it takes ten
times as long as to compare what it is made of. The key is the contents themselves, so that nothing
has to be told when something stored changes.
"""

from collections.abc import Callable, Mapping
from functools import partial
from hashlib import blake2b
from typing import Any, ParamSpec, TypeVar

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from cwac.figures.enlarging import enlarge
from cwac.figures.style import dress

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def once(
    function: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> Result:
    """Return ``function(*args, **kwargs)``, computed once per contents of the arguments.

    Parameters
    ----------
    function : callable
        Pure, with a name of its own.
    *args, **kwargs
        Tables, arms, records, names, numbers, and collections of them.

    Returns
    -------
    The one result, shared by all sessions: it may be read, never changed.
    """
    result: Result = _once(
        f"{function.__module__}.{function.__qualname__}",
        digest((args, kwargs)),
        lambda: function(*args, **kwargs),
    )
    return result


def drawn(figure: "partial[go.Figure]", *, dark: bool, scale: float = 1.0) -> go.Figure:
    """Return the figure that a call draws, dressed for the page; built once per contents.

    Parameters
    ----------
    figure : partial
        A function of ``cwac.figures`` and its arguments.
    dark : bool
        Whether the page is dark.
    scale : float
        How much larger text and marks are than they are drawn.
    """
    return once(_dressed, figure, dark=dark, scale=scale)


def _dressed(figure: "partial[go.Figure]", *, dark: bool, scale: float) -> go.Figure:
    return painted(figure(), dark=dark, scale=scale)


def painted(figure: go.Figure, *, dark: bool, scale: float = 1.0) -> go.Figure:
    """Return a figure with the look of the page, as :func:`drawn` has it."""
    larger = figure if scale == 1.0 else enlarge(figure, scale)
    # Painted: the camera of the chart saves what is drawn, and a slide shines through else.
    return dress(larger, dark=dark, background=True)


# Not copied on each read (cache_data would pickle it): nobody changes it.
@st.cache_resource(max_entries=256, show_spinner=False)
def _once(name: str, key: str, _make: Callable[[], Any]) -> Any:
    del name, key
    return _make()


def digest(value: object) -> str:
    """Return what two values share only where their contents are the same.

    Raises
    ------
    TypeError
        A value is known by its place in memory alone.
    """
    hashed = blake2b(digest_size=16)
    _feed(hashed, value)
    return hashed.hexdigest()


def _feed(hashed: "blake2b", value: object) -> None:
    if isinstance(value, pd.DataFrame | pd.Series):
        columns = [value.name] if isinstance(value, pd.Series) else list(value.columns)
        hashed.update(f"{type(value).__name__} {value.shape} {columns!r}".encode())
        hashed.update(_rows(value))
    elif isinstance(value, np.ndarray):
        hashed.update(f"array {value.shape} {value.dtype}".encode())
        hashed.update(repr(value.tolist()).encode())
    elif isinstance(value, partial):
        _feed(hashed, (value.func, value.args, value.keywords))
    elif isinstance(value, Mapping):
        _feed(hashed, [part for pair in value.items() for part in pair])
    elif isinstance(value, set | frozenset):
        _feed(hashed, sorted(map(repr, value)))
    elif isinstance(value, list | tuple) and type(value) in (list, tuple):
        hashed.update(f"{type(value).__name__} {len(value)}(".encode())
        for part in value:
            _feed(hashed, part)
        hashed.update(b")")
    elif callable(value) and hasattr(value, "__qualname__"):
        hashed.update(f"{value.__module__}.{value.__qualname__}".encode())
    else:
        text = f"{type(value).__qualname__} {value!r};"
        if " at 0x" in text:
            raise TypeError(f"{type(value).__qualname__} cannot be told by its contents.")
        hashed.update(text.encode())


def _rows(table: "pd.DataFrame | pd.Series[Any]") -> bytes:
    try:
        rows: bytes = pd.util.hash_pandas_object(table).to_numpy().tobytes()
    except TypeError:
        # Lists in cells have no hash.
        return table.to_json(orient="split").encode()
    return rows
