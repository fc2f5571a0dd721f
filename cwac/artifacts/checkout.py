"""Where the code lies, and with it what ships."""

from pathlib import Path

import cwac


def checkout() -> Path | None:
    """Return the folder of the repository, None where the package was installed from a wheel."""
    package = Path(cwac.__file__).resolve().parent
    return None if (package / "_shipped").is_dir() else package.parent


def shipped_folder() -> Path:
    """Return the folder of ``app.py``, ``pages/``, ``cached_artifacts/`` and ``docs/``.

    It is the repository in a checkout, and inside the package in an installed wheel, where
    ``setup.py`` puts it.
    """
    return checkout() or Path(cwac.__file__).resolve().parent / "_shipped"
