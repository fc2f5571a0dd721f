"""Memory goes back to the system after a page, wherever the C library can."""

import ctypes
import gc
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from cwac import memory
from cwac.artifacts import ArtifactStore


@pytest.mark.parametrize("library", [SimpleNamespace(), None])
def test_a_page_is_shown_whatever_the_c_library(
    store: ArtifactStore,
    open_page: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    library: object,
) -> None:
    asked: list[str] = []
    known = SimpleNamespace(
        mallopt=lambda *_: asked.append("shared"), malloc_trim=lambda _: asked.append("given back")
    )
    monkeypatch.setattr(ctypes, "CDLL", lambda _: library or known)
    memory.share_memory.cache_clear()
    app = open_page("reference/glossary", store.write_root)
    assert not app.exception
    assert asked == ([] if library else ["shared", "given back"])
    assert gc.get_freeze_count()
