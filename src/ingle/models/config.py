"""Owns what a checkpoint says about its model: typed values, under Hugging Face's names.

It does not know which values an architecture needs, nor what they mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ingle.errors import FileFormatError, UnsupportedError
from ingle.formats import Container
from ingle.formats.facts import ModelFacts
from ingle.models.names import Keys, Layout

_NESTED = ("rope_parameters", "rope_scaling")


class Config:
    """GGUF metadata or a `config.json`. A null counts as absent. Values come from a stranger:
    each is checked, and FileFormatError names the file and the key that is wrong."""

    def __init__(self, where: str, values: Mapping[str, Any], keys: Keys, strict: bool) -> None:
        self.where = where
        self._values = values
        self._keys = keys
        self._strict = strict  # names without a key do not exist

    def integer(self, name: str, default: int | None = None, *, low: int = 1, high: int) -> int:
        """A whole number within [low, high]."""
        key, value = self._find(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self._bad(key, f"a whole number from {low} to {high}", value)
        return value

    def real(self, name: str, default: float | None = None, *, low: float, high: float) -> float:
        """A number within [low, high]."""
        key, value = self._find(name, default)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not low <= value <= high:  # false for NaN
            raise self._bad(key, f"a number from {low} to {high}", value)
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        """True or false."""
        key, value = self._find(name, default)
        if not isinstance(value, bool):
            raise self._bad(key, "true or false", value)
        return value

    def text(self, name: str, default: str) -> str:
        """A string."""
        key, value = self._find(name, default)
        if not isinstance(value, str):
            raise self._bad(key, "a string", value)
        return value

    def items(self, name: str) -> tuple[Any, ...] | None:
        """The elements of a list, of any type; None when there is no list."""
        key, value = self._find(name, None)
        if value is not None and not isinstance(value, list | tuple):
            raise self._bad(key, "a list", value)
        return None if value is None else tuple(value)

    def states(self, name: str) -> bool:
        """Whether there is a value."""
        return self._find(name, None)[1] is not None

    def require(self, name: str, *allowed: object) -> None:
        """UnsupportedError unless the value is absent or one of those that are built."""
        key, value = self._find(name, allowed[0])
        if not any(type(value) is type(one) and value == one for one in allowed):
            known = " or ".join(str(one) for one in allowed)
            raise UnsupportedError(
                f"{self.where} {key}", f"value must be {known} for now, but got {value!a:.80}"
            )

    def _find(self, name: str, default: object) -> tuple[str, Any]:
        """The key as the file spells it, and its value."""
        keys = self._keys.get(name, () if self._strict else (name,))
        for key in keys:
            if self._values.get(key) is not None:
                return key, self._values[key]
        return (keys[0] if keys else name), default

    def _bad(self, key: str, rule: str, value: object) -> FileFormatError:
        return FileFormatError(
            f"{self.where} {key}", f"value must be {rule}, but got {value!a:.80}"
        )


def read_config(container: Container, facts: ModelFacts, keys: Keys) -> Config:
    """The configuration of a container in any layout; `keys` are those of its layout."""
    if facts.layout == Layout.GGUF:
        prefix = container.metadata["general.architecture"]
        spelled = {name: tuple(f"{prefix}.{key}" for key in keys[name]) for name in keys}
        return Config(container.path.name, container.metadata, spelled, strict=True)
    where = f"{container.path.name} config.json".strip()
    return Config(where, _flat(where, facts.config), keys, strict=False)


def _flat(where: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The values of nested tables as `table.key` beside the others."""
    flat = dict(config)
    for name in _NESTED:
        table = flat.pop(name, None) or {}
        if not isinstance(table, dict) or any(isinstance(v, dict) for v in table.values()):
            raise UnsupportedError(
                f"{where} {name}", f"value must be a plain object, but got {table!a:.80}"
            )
        flat |= {f"{name}.{key}": value for key, value in table.items()}
    return flat
