"""What a page has freed goes back to the system: a server runs for days.

Streamlit runs a page in a thread of its own each time. The C library gives threads up to eight
pools a core, Arrow has one besides, and each keeps what was freed in it: after a walk over all
pages a fifth of the server's memory.
"""

import ctypes
import gc
from contextlib import suppress
from functools import cache
from typing import Final

import pyarrow as pa

_M_ARENA_MAX: Final = -8
"""As in ``malloc.h``."""
_OTHER_LIBRARY: Final = (AttributeError, OSError, TypeError)
"""What is raised where the C library is not glibc: it has no such calls."""


@cache
def share_memory() -> None:
    """Let all threads of this process take memory from one of the C library's pools."""
    with suppress(*_OTHER_LIBRARY):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Give the system what is free in the pools, after a page."""
    _keep()
    pa.default_memory_pool().release_unused()
    with suppress(*_OTHER_LIBRARY):
        ctypes.CDLL(None).malloc_trim(0)


@cache
def _keep() -> None:
    """Leave out of every search for garbage what the first page loaded: modules and records.

    They stay as long as the server does, and to look through them takes a tenth of a second.
    """
    gc.collect()
    gc.freeze()
