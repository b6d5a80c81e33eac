"""Owns what a person asks of a quantization, and which tensor gets which type because of it.

Nothing is substituted silently: every assignment says why. It does not know encoders nor files of
weights.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ingle.errors import FileFormatError, IngleError, UnsupportedError
from ingle.formats.mapping import FileMap, quoted
from ingle.numerics import FORMATS
from ingle.quantize.encode import ENCODABLE
from ingle.quantize.mixture import (
    BLOCKS,
    MIXTURES,
    Rules,
    fitting,
    is_candidate,
    mixture_name,
    num_layers,
)

_OUTPUT, _EMBEDDING, _EXPERTS = "output.weight", "token_embd.weight", "_exps.weight"
_RECIPE_BYTES = 1 << 20


@dataclass(frozen=True)
class Override:
    """Tensors whose name the pattern is found in get this type. The first that matches counts."""

    pattern: re.Pattern[str]
    type: str

    @classmethod
    def parse(cls, text: str) -> Override:
        """REGEX=TYPE. IngleError says what is wrong."""
        pattern, equals, type_name = text.rpartition("=")
        where = "--tensor-type"
        if not equals or not pattern:
            raise IngleError(where, f"value must be REGEX=TYPE, but got {text!a:.80}")
        return cls(_pattern(pattern, where), type_named(type_name, where))


@dataclass(frozen=True)
class Recipe:
    """mixture: a name of `MIXTURES`. pure: one type everywhere, no mixture rules.

    keep_mxfp4: tensors that are MXFP4 already are copied, unless an override names them.
    strict: a type that does not fit a row is refused instead of replaced by llama.cpp's rule.
    """

    mixture: str
    pure: bool = False
    overrides: tuple[Override, ...] = ()
    output_type: str | None = None
    embedding_type: str | None = None
    keep_mxfp4: bool = True
    strict: bool = False


@dataclass(frozen=True)
class Subject:
    """What a recipe is applied to: stored format and shape of each tensor, and the model's sizes.

    heads_per_kv: query heads that share a key. num_experts: 0 for a dense model.
    """

    tensors: Mapping[str, tuple[str, tuple[int, ...]]]
    heads_per_kv: int
    num_experts: int


@dataclass(frozen=True)
class Assignment:
    """A tensor, the format it has and the one it gets; why: the rule, where one decided."""

    name: str
    shape: tuple[int, ...]
    source: str
    target: str
    why: str = ""

    @property
    def num_weights(self) -> int:
        """Elements of the tensor."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes it will take."""
        if self.target not in FORMATS:
            raise UnsupportedError(quoted(self.name), f"format must be known, not {self.target}")
        rows = self.num_weights // max(1, self.shape[-1])
        return rows * FORMATS[self.target].row_bytes(self.shape[-1])

    @property
    def is_copied(self) -> bool:
        """Whether its bytes are taken as they are."""
        return self.source == self.target


def type_named(text: str, where: str) -> str:
    """A type that can be encoded; IngleError lists them."""
    name = text.strip().upper()
    if name not in ENCODABLE:
        rule = f"type must be one of {', '.join(ENCODABLE)}, but got {text!a:.60}"
        raise IngleError(where, rule)
    return name


def assign(recipe: Recipe, subject: Subject, has_imatrix: bool) -> list[Assignment]:
    """Every tensor's format, in the file's order. IngleError when a type does not fit."""
    names = subject.tensors
    rules = Rules(
        recipe.mixture,
        num_layers(names),
        subject.heads_per_kv,
        subject.num_experts,
        _OUTPUT in names,
        has_imatrix,
    )
    return [
        _assign_one(recipe, rules, name, source, shape) for name, (source, shape) in names.items()
    ]


def _assign_one(
    recipe: Recipe, rules: Rules, name: str, source: str, shape: tuple[int, ...]
) -> Assignment:
    kept = Assignment(name, shape, source, source)
    if not is_candidate(name, shape):
        return kept
    ruled = rules.choose(name, shape[-1])  # counts tensors, whether its answer is used or not
    named = named_type(recipe, name)
    if named is not None:
        wanted, why = named
    elif recipe.keep_mxfp4 and source == "MXFP4":
        return replace(kept, why="kept: the model was trained in MXFP4")
    elif recipe.pure:
        wanted, why = MIXTURES[recipe.mixture][0], ""
    else:
        wanted, why = ruled, ""
        if wanted != MIXTURES[recipe.mixture][0]:
            why = f"{recipe.mixture}: llama.cpp's mixture"
    return _fitted(recipe, kept, wanted, why)


def named_type(recipe: Recipe, name: str) -> tuple[str, str] | None:
    """(type, which option says so) of a tensor that the recipe names; None for the others."""
    if recipe.embedding_type and name == _EMBEDDING:
        return recipe.embedding_type, "--token-embedding-type"
    if recipe.output_type and name == _OUTPUT:
        return recipe.output_type, "--output-tensor-type"
    for override in recipe.overrides:
        if override.pattern.search(name):
            return override.type, f"--tensor-type {override.pattern.pattern}"
    return None


def _fitted(recipe: Recipe, kept: Assignment, wanted: str, why: str) -> Assignment:
    columns = kept.shape[-1]
    taken = fitting(wanted, columns)
    if taken != wanted:
        misfit = f"{columns} columns are no multiple of {BLOCKS[wanted]}"
        if recipe.strict:
            rule = f"rows of {wanted} must be whole blocks, but {misfit}"
            raise IngleError(
                quoted(kept.name), rule, f"name another type: --tensor-type ...={taken}"
            )
        why = f"{wanted} -> {taken}: {misfit}"
    if taken not in ENCODABLE:
        rule = f"type must be one that ingle encodes, but {recipe.mixture} wants {taken}"
        raise UnsupportedError(quoted(kept.name), rule, "choose another type for it: --tensor-type")
    return replace(kept, target=taken, why=why)


def read_recipe(path: Path, base: Recipe | None = None) -> Recipe:
    """A recipe from TOML: type, pure, output, token_embedding, requantize_mxfp4, strict, and any
    number of [[tensor]] with `match` (a regular expression) and `type`.

    What the file leaves out is as in `base`. FileFormatError names the key that is wrong.
    """
    file = FileMap(path)
    if file.size > _RECIPE_BYTES:
        file.fail("", f"recipe must have at most {_RECIPE_BYTES} bytes, but got {file.size}")
    try:
        table = tomllib.loads(bytes(file.bytes).decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        file.fail("", f"recipe must be TOML, but got {error}")
    keys = _Keys(str(path), table)
    base = base or Recipe(mixture_name(keys.text("type", "Q8_0")))
    recipe = replace(
        base,
        mixture=mixture_name(keys.text("type", base.mixture)),
        pure=keys.flag("pure", base.pure),
        strict=keys.flag("strict", base.strict),
        keep_mxfp4=not keys.flag("requantize_mxfp4", not base.keep_mxfp4),
        output_type=keys.format("output", base.output_type),
        embedding_type=keys.format("token_embedding", base.embedding_type),
        overrides=(*base.overrides, *keys.overrides()),
    )
    keys.finish()
    return recipe


class _Keys:
    """A TOML table whose every key must be known."""

    def __init__(self, where: str, table: Mapping[str, Any]) -> None:
        self._where, self._left = where, dict(table)

    def text(self, key: str, default: str) -> str:
        return str(self._take(key, str, default))

    def flag(self, key: str, default: bool) -> bool:
        return bool(self._take(key, bool, default))

    def format(self, key: str, default: str | None) -> str | None:
        found = self._take(key, str, None)
        return default if found is None else type_named(found, f"{self._where}: {key}")

    def overrides(self) -> Sequence[Override]:
        found = []
        for number, entry in enumerate(self._take("tensor", list, [])):
            where = f"{self._where}: tensor {number + 1}"
            if not isinstance(entry, dict) or entry.keys() != {"match", "type"}:
                raise FileFormatError(where, "entry must have match and type, and nothing else")
            pattern = _pattern(str(entry["match"]), where)
            found.append(Override(pattern, type_named(str(entry["type"]), where)))
        return found

    def finish(self) -> None:
        """FileFormatError when a key is left that nobody asked for."""
        for key in self._left:
            known = "type, pure, strict, requantize_mxfp4, output, token_embedding, tensor"
            raise FileFormatError(self._where, f"key must be one of {known}, but got {quoted(key)}")

    def _take(self, key: str, kind: type, default: Any) -> Any:
        value = self._left.pop(key, default)
        if value is not default and not isinstance(value, kind):
            rule = f"value must be a {kind.__name__}, but got {value!r:.60}"
            raise FileFormatError(f"{self._where}: {key}", rule)
        return value


def _pattern(text: str, where: str) -> re.Pattern[str]:
    try:
        return re.compile(text, re.IGNORECASE)
    except re.error as error:
        raise IngleError(where, f"pattern must be a regular expression, but got {error}") from None
