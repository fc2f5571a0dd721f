"""Many runs in one file, which the store reads as if each had a folder of its own.

``<root>/packs/<experiment_id>.zip`` holds ``<run_id>/<file>`` of an experiment's packed runs,
uncompressed: a table is read from the middle of a pack as fast as from a file. Packs are for
collections that many people copy and nobody changes; a run that is started has a folder, and a
folder hides a packed run of the same id. Unpacking the ZIP file into the root undoes it. Runs that
kept a model stay folders, because libraries load models from folders.
"""

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Final

from cwac.intake import names_in

PACKS: Final = "packs"
_HEADER: Final = struct.Struct("<26xHH")
"""What precedes a file in a ZIP; its last two numbers are the lengths of the name and of extras."""

_BROKEN: Final = (
    zipfile.BadZipFile,
    OSError,
    ValueError,
    NotImplementedError,
    OverflowError,
    struct.error,
)
"""What reading a damaged ZIP ends with: a number in it may ask for another version, say."""


@dataclass(frozen=True)
class _Member:
    header: int
    size: int
    check: int


@dataclass(frozen=True)
class FileStat:
    """Size and time of a packed file, named as :class:`os.stat_result` names them."""

    st_size: int
    st_mtime_ns: int


@dataclass(frozen=True)
class PackedRun:
    """A packed run, used like the path of a run's folder."""

    pack: Path
    name: str

    def __truediv__(self, file: str) -> "PackedFile":
        return PackedFile(self, file)

    def __str__(self) -> str:
        return f"{self.pack}/{self.name}"

    @property
    def parent(self) -> Path:
        """The root, as of a folder."""
        return self.pack.parent.parent

    def files(self) -> list["PackedFile"]:
        """Return all its files, in order of name."""
        return [self / name for name in sorted(_runs_of(self.pack).get(self.name, ()))]


@dataclass(frozen=True)
class PackedFile:
    """A file of a packed run, read like a path."""

    parent: PackedRun
    name: str

    def __str__(self) -> str:
        return f"{self.parent}/{self.name}"

    @property
    def pack(self) -> Path:
        """The pack that it is in."""
        return self.parent.pack

    @property
    def stem(self) -> str:
        """The name without its ending."""
        return PurePosixPath(self.name).stem

    def is_file(self) -> bool:
        """Whether the pack holds it."""
        return self.name in _runs_of(self.pack).get(self.parent.name, ())

    def is_dir(self) -> bool:
        """Whether it is a folder: packs hold none."""
        return False

    def stat(self) -> FileStat:
        """Return its size and when its pack was written."""
        return FileStat(self._member().size, self.pack.stat().st_mtime_ns)

    def read_bytes(self) -> bytes:
        """Return its content, checked against the sum that the pack keeps of it."""
        member = self._member()
        # Opened for each reading: processes that were forked would share one file's position.
        with self.pack.open("rb") as file:
            file.seek(member.header)
            header = file.read(_HEADER.size)
            content = b""
            if len(header) == _HEADER.size:
                file.seek(sum(_HEADER.unpack(header)), io.SEEK_CUR)
                content = file.read(member.size)
        if len(content) != member.size or zlib.crc32(content) != member.check:
            raise OSError(f"it does not fit the sum that {self.pack.name} keeps of it")
        return content

    def read_text(self, encoding: str = "utf-8") -> str:
        """Return its content as text."""
        return self.read_bytes().decode(encoding)

    def _member(self) -> _Member:
        try:
            return _runs_of(self.pack)[self.parent.name][self.name]
        except KeyError:
            if not _runs_of(self.pack):
                raise OSError(f"the pack {self.pack.name} is broken") from None
            raise FileNotFoundError(str(self)) from None


RunFolder = Path | PackedRun
"""Where a run's files are."""
RunFile = Path | PackedFile
"""One of them."""


def packed_run(root: Path, run_id: str) -> PackedRun | None:
    """Return a packed run of a root, None where no pack holds it."""
    packs = packs_of(root)
    return next((PackedRun(pack, run_id) for pack in packs if run_id in _runs_of(pack)), None)


def packed_runs(root: Path) -> Iterator[PackedRun]:
    """Give every packed run of a root; a broken pack is one run, which cannot be read."""
    for pack in packs_of(root):
        for run_id in _runs_of(pack) or [pack.stem]:
            yield PackedRun(pack, run_id)


def files_of(folder: RunFolder) -> dict[str, RunFile]:
    """Return the files of a run or fit by their names below its folder, in order."""
    if isinstance(folder, PackedRun):
        return {file.name: file for file in folder.files()}
    # Unlike a glob, it passes over what vanishes while it looks.
    paths = (Path(place, name) for place, _, names in os.walk(folder) for name in names)
    files = sorted(path for path in paths if path.is_file())
    return {path.relative_to(folder).as_posix(): path for path in files}


def packs_of(root: Path) -> list[Path]:
    """Return the packs of a root, in order of name."""
    names = names_in(root / PACKS)
    return [root / PACKS / n for n in names if n.endswith(".zip") and not n.startswith(".")]


def _runs_of(pack: Path) -> Mapping[str, Mapping[str, _Member]]:
    try:
        stat = pack.stat()
    except OSError:
        return {}
    return _index(pack, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=256)
def _index(pack: Path, _written: int, _size: int) -> Mapping[str, Mapping[str, _Member]]:
    runs: dict[str, dict[str, _Member]] = {}
    try:
        with zipfile.ZipFile(pack) as archive:
            entries = archive.infolist()
    except _BROKEN:
        return runs
    for entry in entries:
        parts = entry.filename.split("/")
        # What `pack_runs` writes, and nothing else that a ZIP may hold.
        if len(parts) == 2 and all(parts) and entry.compress_type == zipfile.ZIP_STORED:
            member = _Member(entry.header_offset, entry.file_size, entry.CRC)
            runs.setdefault(parts[0], {})[parts[1]] = member
    return runs
