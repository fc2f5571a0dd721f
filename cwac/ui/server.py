"""The server of ``cwac app``: the pages, for requests that name a host that is allowed.

It is a program, ``python -m cwac.ui.server --host NAME ... [--address ADDRESS] [--port NUMBER]``,
because the command line does not know the app. Streamlit's own ``server.allowedHosts`` looks at
the connection of a page alone; here every route is behind the check: static files, uploads, media,
downloads.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import psutil
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from streamlit.starlette import App

from cwac.artifacts import shipped_folder

LOOPBACK: Final = "127.0.0.1"


def serve(hosts: Sequence[str], port: int | None = None, address: str = LOOPBACK) -> None:
    """Serve the pages until a signal (SIGTERM, Ctrl-C) ends it, and end what they were asking.

    Parameters
    ----------
    hosts : sequence of str
        Names that a request's Host header may have, whatever its port.
    port : int, optional
        By default Streamlit's, 8501, or the next one that is free.
    address : str
        Where it listens: one of this machine's, or 0.0.0.0 for all of them.
    """
    script = shipped_folder() / "app.py"
    # Streamlit finds .streamlit/config.toml beside the script that was started.
    sys.argv = [str(script)]
    config: dict[str, Any] = {"server.address": address, "server.allowedHosts": list(hosts)}
    if port is not None:
        config["server.port"] = port
    guard = Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)
    try:
        App(script, middleware=[guard]).run(config=config)
    finally:
        end_children()


def end_children() -> None:
    """Kill the processes that a page was asking; jobs have a session of their own and go on."""
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error, OSError):
            if not hasattr(os, "getsid") or os.getsid(child.pid) == os.getsid(0):
                child.kill()


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", action="append", required=True)
    parser.add_argument("--port", type=int)
    parser.add_argument("--address", default=LOOPBACK)
    given = parser.parse_args()
    serve(given.host, given.port, given.address)


if __name__ == "__main__":
    main()
