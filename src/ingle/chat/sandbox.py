"""Owns the Jinja environment in which a checkpoint's chat template runs, and its limits.

A template comes with a downloaded file and may be hostile. On top of jinja2's immutable sandbox
(no private attributes, no changing of values), filters and methods are those of a list, and every
loop round, call and text is charged to the rendering's budget.

Conventions as in transformers' chat templates: trim_blocks, lstrip_blocks, loop controls,
``raise_exception``, ``strftime_now``, ``tojson`` without HTML escapes, ``generation`` blocks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any

from jinja2 import Environment, TemplateError, nodes, pass_context
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from ingle.chat.budget import (
    budget,
    charge_binop,
    charge_join,
    charge_replace,
    charge_text_method,
    check_indent,
    measured,
    size,
)

_FILTERS = frozenset(
    {
        "abs", "capitalize", "count", "d", "default", "dictsort", "e", "escape", "first", "float",
        "groupby", "indent", "int", "items", "join", "last", "length", "list", "lower", "map",
        "max", "min", "reject", "rejectattr", "replace", "reverse", "round", "safe", "select",
        "selectattr", "sort", "string", "sum", "title", "tojson", "trim", "unique", "upper",
    }
)  # fmt: skip
_TEXT_METHODS = frozenset(
    {
        "capitalize", "casefold", "count", "endswith", "find", "index", "isalnum", "isalpha",
        "isdecimal", "isdigit", "islower", "isnumeric", "isspace", "istitle", "isupper", "join",
        "lower", "lstrip", "partition", "removeprefix", "removesuffix", "replace", "rfind",
        "rindex", "rpartition", "rsplit", "rstrip", "split", "splitlines", "startswith", "strip",
        "swapcase", "title", "upper",
    }
)  # fmt: skip
_METHODS: dict[type, frozenset[str]] = {
    str: _TEXT_METHODS,
    dict: frozenset({"get", "items", "keys", "values"}),
    list: frozenset({"count", "index"}),
    tuple: frozenset({"count", "index"}),
    int: frozenset(),
    float: frozenset(),
    bytes: frozenset(),
}


class TemplateEnvironment(ImmutableSandboxedEnvironment):
    """jinja2's immutable sandbox, counted. Compile with `compile_template`."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,
            finalize=_count_output,
            extensions=["jinja2.ext.loopcontrols", _GenerationBlock],
        )
        plain = Environment(autoescape=False)
        plain.filters["tojson"] = _tojson
        self.filters = {name: _counted_filter(plain, name) for name in _FILTERS}
        self.filters |= {"counted": _counted, "spend": _spend, "concat": _concat}
        for name in ("lipsum", "cycler", "joiner"):
            del self.globals[name]
        self.globals |= {
            "raise_exception": _raise_exception,
            "strftime_now": _strftime_now,
            "namespace": _Names,
            "dict": lambda *args, **kwargs: dict(*args, **kwargs),
        }

    def compile_template(self, source: str) -> Any:
        """A template whose loops, macros and concatenations are counted."""
        tree = self.parse(source)
        _Counting().visit(tree)
        tree.set_environment(self)
        return self.from_string(tree)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        for kind, allowed in _METHODS.items():
            if isinstance(obj, kind):
                return attr in allowed
        return super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> None:
        """Nothing to wrap: `str.format`, which can pad to any width, is no safe attribute."""

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        budget.get().spend(1)
        if isinstance(__obj, LoopContext) and args:
            args = (_counted(__context, args[0]), *args[1:])
        owner = getattr(__obj, "__self__", None)
        if isinstance(owner, str):
            charge_text_method(owner, __obj.__name__, args)
        result = super().call(__context, __obj, *args, **kwargs)
        budget.get().spend(0, size(result))
        return result

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        charge_binop(operator, left, right)
        return super().call_binop(context, operator, left, right)


class _Names(Namespace):
    """Jinja's namespace without private names, behind which a value could pose as another type."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        self, *rest = args
        attributes = dict(*rest, **kwargs)
        for name in attributes:
            _check_name(name)
        Namespace.__init__(self, attributes)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


def _check_name(name: Any) -> None:
    if not isinstance(name, str) or name.startswith("_"):
        raise TemplateError(f"a namespace has no private names, but got {name!r:.80}")


class _GenerationBlock(Extension):
    """``{% generation %}`` marks what a model wrote, for training; here it is its own content."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body).set_lineno(line)


class _Counting(NodeTransformer):
    """Puts a counter on everything that repeats, and on `~`."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802
        cost = nodes.Const(_literal_chars(node))
        self.generic_visit(node)
        node.iter = nodes.Filter(node.iter, "counted", [cost], [], None, None)
        return node

    def visit_Macro(self, node: nodes.Macro) -> nodes.Node:  # noqa: N802
        return self._count_body(node)

    def visit_CallBlock(self, node: nodes.CallBlock) -> nodes.Node:  # noqa: N802
        return self._count_body(node)

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return nodes.Filter(nodes.List(node.nodes), "concat", [], [], None, None)

    def _count_body(self, node: nodes.Macro | nodes.CallBlock) -> nodes.Node:
        cost = nodes.Const(_literal_chars(node))
        self.generic_visit(node)
        spend = nodes.Filter(nodes.Const(""), "spend", [cost], [], None, None)
        node.body.insert(0, nodes.Output([spend]))
        return node


def _literal_chars(node: nodes.Node) -> int:
    return sum(len(data.data) for data in node.find_all(nodes.TemplateData))


def _counted_filter(plain: Environment, name: str) -> Callable[..., Any]:
    @pass_context
    def run(context: Context, value: Any, *args: Any, **kwargs: Any) -> Any:
        if name == "join":
            value = list(value)
            charge_join(args[0] if args else kwargs.get("d", ""), value)
        elif name == "replace":
            charge_replace(str(measured(value)), args)
        elif name in ("indent", "tojson"):
            check_indent(args, kwargs)
        budget.get().spend(1, size(measured(value) if name in ("string", "tojson") else value))
        result = plain.call_filter(name, value, list(args), kwargs, context=context)
        budget.get().spend(0, size(result))
        return result

    return run


@pass_context
def _counted(_context: Context, values: Iterable[Any], cost: int = 0) -> Iterator[Any]:
    spend = budget.get().spend
    for value in values:
        spend(1, cost)
        yield value


@pass_context
def _spend(_context: Context, value: str, cost: int) -> str:
    budget.get().spend(1, cost)
    return value


@pass_context
def _concat(_context: Context, values: list[Any]) -> str:
    for value in values:
        budget.get().spend(0, size(measured(value)))
    return "".join(map(str, values))


@pass_context
def _count_output(_context: Context, value: Any) -> Any:
    budget.get().spend(0, size(measured(value)))
    return value


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise_exception(message: str) -> None:
    raise TemplateError(message)


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(form)
