"""The base of every settings model, and reading settings from a file."""

import json
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar, Final, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)
from pydantic_core import to_jsonable_python

from cwac.errors import ConfigError, first_line
from cwac.intake import check_storable, read_json, read_toml, shown

_WHOLE: Final = frozenset({"settings", "the configuration"})
"""What is built as a whole: its keys are named without a section before them."""


class Settings(BaseModel):
    """Base of every settings model: immutable, unknown keys refused."""

    # What is infinite or no number can be stored by no JSON, and no id can be made of it.
    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False
    )

    @classmethod
    def build(cls, values: Mapping[str, Any], *, where: str = "settings") -> Self:
        """Validate `values`, turning pydantic's report into one sentence.

        Raises
        ------
        ConfigError
            A key is unknown (the nearest known key is named) or a value is not allowed.
        """
        if not isinstance(values, Mapping):
            raise ConfigError(f"{where} = {shown(values)} must be a table of settings.")
        try:
            check_storable(dict(values))
            return cls.model_validate(dict(values))
        except ValidationError as report:
            raise ConfigError(_sentence(cls, report, where)) from None
        except ValueError as problem:
            place = "" if where in _WHOLE else f"{where}."
            raise ConfigError(f"{place}{first_line(problem)}.") from None

    def canonical_json(self) -> str:
        """Return JSON with sorted keys and all defaults filled: what ids are hashed over."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    def complete(self) -> dict[str, Any]:
        """Return every field as a JSON value, also those that an id leaves out."""
        return {name: to_jsonable_python(getattr(self, name)) for name in type(self).model_fields}

    def non_default(self) -> dict[str, Any]:
        """Return the fields whose value differs from the class's default."""
        return {
            name: value
            for name, field in type(self).model_fields.items()
            if (value := getattr(self, name)) != field.get_default(call_default_factory=True)
        }


def _sentence(cls: type[BaseModel], report: ValidationError, where: str) -> str:
    first = report.errors()[0]
    path = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = _keys_beside(cls, first["loc"])
        close = get_close_matches(str(first["loc"][-1]), known, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else "."
        return f"unknown key {path!r} in {where}{hint} Allowed: {', '.join(known)}."
    place = path if where in _WHOLE else f"{where}.{path}"
    return f"{place} = {shown(first['input'])} is not allowed: {first['msg'].lower()}."


def _keys_beside(cls: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    for part in path[:-1]:
        annotation = cls.model_fields[str(part)].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            break
        cls = annotation
    return list(cls.model_fields)


class GrowingSettings(Settings):
    """Settings that got fields after runs were stored.

    Where such a field holds its default it is not written, so that ids and hashes of earlier
    runs stay what they were.
    """

    later: ClassVar[frozenset[str]] = frozenset()
    """Names of these fields; those of the classes it derives from count too."""

    @classmethod
    def later_fields(cls) -> frozenset[str]:
        """Return every field that joined later, inherited ones included."""
        return frozenset().union(*(vars(kind).get("later", ()) for kind in cls.__mro__))

    @model_serializer(mode="wrap")
    def _without_later_defaults(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = write(self)
        changed, later = self.non_default(), self.later_fields()
        return {k: v for k, v in values.items() if k not in later or k in changed}


def read_config_file(path: Path) -> dict[str, Any]:
    """Read a TOML or JSON file of settings as a plain mapping.

    Raises
    ------
    ConfigError
        The file is missing, of another type, or cannot be parsed.
    """
    try:
        if path.suffix == ".toml":
            return read_toml(path)
        if path.suffix == ".json":
            values = read_json(path)
            if isinstance(values, dict):
                return values
            raise ConfigError(f"{path} must hold one JSON object, not a {type(values).__name__}.")
    except (OSError, ValueError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else None
        why = (reason or first_line(problem)).lower()
        raise ConfigError(f"cannot read the configuration {path}: {why}.") from None
    raise ConfigError(f"{path} has type {path.suffix or 'none'!r}; allowed: .toml, .json.")
