"""A safety subspace as two files: tensors by kind and map, and what they are, as JSON."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from safetensors.torch import load_file, save_file
from torch import Tensor

TENSORS: Final = "subspace.safetensors"
DESCRIPTION: Final = "subspace.json"


def write_parts(
    folder: Path, parts: Mapping[str, Mapping[str, Tensor]], description: Mapping[str, Any]
) -> None:
    """Write tensors by kind and map, and their description, into an existing folder."""
    tensors = {
        f"{kind}|{path}": tensor.contiguous().cpu()
        for kind, by_path in parts.items()
        for path, tensor in by_path.items()
    }
    save_file(tensors, folder / TENSORS)
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=1), encoding="utf-8")


def read_parts(folder: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """Return what :func:`write_parts` wrote."""
    description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    parts: dict[str, dict[str, Tensor]] = {}
    for key, tensor in load_file(folder / TENSORS).items():
        kind, path = key.split("|", 1)
        parts.setdefault(kind, {})[path] = tensor
    return parts, description
