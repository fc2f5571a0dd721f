"""What has been freed goes back to the system: the C library keeps it else.

It gives threads up to eight pools a core and keeps in each what was freed there, of a set-up in
which directions and SAEs were fitted more than a gigabyte.
"""

import ctypes
from contextlib import suppress
from functools import cache
from typing import Final

_M_ARENA_MAX: Final = -8
"""As in ``malloc.h``."""
_OTHER_LIBRARY: Final = (AttributeError, OSError, TypeError)
"""What is raised where the C library is not glibc: it has no such calls."""


@cache
def share_memory() -> None:
    """Let all threads of this process take memory from one of the C library's pools."""
    with suppress(*_OTHER_LIBRARY):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def trim() -> None:
    """Give the system what is free in the pools."""
    with suppress(*_OTHER_LIBRARY):
        ctypes.CDLL(None).malloc_trim(0)
