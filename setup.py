"""What `pyproject.toml` cannot say: the app and the shipped artifacts travel inside the package."""

import shutil
from pathlib import Path
from typing import Final

from setuptools import setup
from setuptools.command.build_py import build_py

SHIPPED: Final = ("app.py", ".streamlit", "pages", "cached_artifacts", "docs", "CITATION.cff")
"""Top-level files and folders that `cwac/_shipped` holds once the package is built."""


class BuildWithShipped(build_py):
    """Copy what lies beside the package into it; an editable install reads it where it lies."""

    def run(self) -> None:
        """Copy, once the package itself is built."""
        super().run()
        if not self.editable_mode:
            # What an earlier build left would travel too.
            shutil.rmtree(self._target(), ignore_errors=True)
            for source, target in self._copies():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """Name what is built."""
        outputs: list[str] = super().get_outputs(include_bytecode)
        return outputs if self.editable_mode else [*outputs, *(str(t) for _, t in self._copies())]

    def get_source_files(self) -> list[str]:
        """Name what it is built from: the source distribution holds it where it lies."""
        return [*super().get_source_files(), *(str(source) for source, _ in self._copies())]

    def _target(self) -> Path:
        return Path(self.build_lib, "cwac", "_shipped")

    def _copies(self) -> list[tuple[Path, Path]]:
        sources: list[Path] = []
        for name in SHIPPED:
            top = Path(name)
            if not top.exists():
                raise FileNotFoundError(f"{name} is missing beside setup.py.")
            files = [top] if top.is_file() else sorted(p for p in top.rglob("*") if p.is_file())
            sources += [p for p in files if not _left_out(p.relative_to(top))]
        return [(source, self._target() / source) for source in sources]


def _left_out(path: Path) -> bool:
    # Bytecode, and what a killed or running process leaves among runs.
    return any(part == "__pycache__" or part.startswith(".") for part in path.parts)


setup(cmdclass={"build_py": BuildWithShipped})
