"""The walls of the house: who may import whom, what loads at start-up, how files are named."""

from __future__ import annotations

import ast
import itertools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ingle

PACKAGE = Path(ingle.__file__).parent

# A room may import what stands left of it; rooms in one group do not import each other.
TABLE = (
    {"numerics", "tokenizer"},
    {"formats"},
    {"hub"},
    {"ops"},
    {"models", "backends", "chat"},
    {"plan"},
    {"runtime"},
    {"llm"},
    {"evaluate"},
    {"quantize"},
    {"tune"},
    {"serve"},
    {"cli"},
)
BY_ALL = {"errors", "env", "config"}
NATIVE = "_native"  # the extension module; only these rooms sit next to it
BESIDE_NATIVE = {"numerics", "tokenizer", "formats", "backends", "plan", "runtime", "quantize"}
FACADE = ""  # ingle/__init__.py, which hands out LLM on first use
LAZY = {"cli", "llm", FACADE}  # where start-up counts, imports may stand inside functions;
# the door of a room (its __init__.py) may choose so among the room's own files

RANK = {room: rank for rank, group in enumerate(TABLE) for room in group}
BANNED = {"utils", "util", "helpers", "helper", "common", "misc"}
SOURCES = sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path, package: Path = PACKAGE) -> str:
    parts = path.relative_to(package).with_suffix("").parts
    return FACADE if parts == ("__init__",) else parts[0]


def rooms_named(node: ast.AST, path: Path, package: Path = PACKAGE) -> Iterator[str]:
    """The rooms of ingle that an import, or a call that imports, names."""
    if isinstance(node, ast.Import):
        modules = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        folder = ("ingle", *path.relative_to(package).parent.parts)
        base = folder[: len(folder) - node.level + 1] if node.level else ()
        stem = ".".join((*base, *([node.module] if node.module else [])))
        modules = [f"{stem}.{alias.name}" for alias in node.names]
    elif isinstance(node, ast.Call) and _callee(node) in {"import_module", "__import__"}:
        modules = [_text(argument) for argument in node.args[:1]]
    else:
        return
    for module in modules:
        first, _, rest = module.partition(".")
        if first == "ingle" and rest:
            yield rest.split(".")[0]


def _callee(call: ast.Call) -> str:
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def _text(node: ast.AST) -> str:
    """The constant text that `node` begins with."""
    if isinstance(node, ast.JoinedStr) and node.values:
        node = node.values[0]
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def faults(tree: ast.Module, path: Path, package: Path = PACKAGE) -> Iterator[str]:
    """Every import in `tree` that goes through a wall."""
    room, top_level = room_of(path, package), _outside_functions(tree)
    for node in ast.walk(tree):
        for target in rooms_named(node, path, package):
            where = f"{path.relative_to(package)}:{getattr(node, 'lineno', 0)}"
            if not allowed(room, target):
                yield f"{where}: {room or 'ingle'} may not import {target}"
            elif node in top_level or room in LAZY or target not in RANK:
                continue
            elif target != room or path.name != "__init__.py":
                yield f"{where}: imports {target} inside a function"


def _outside_functions(tree: ast.Module) -> set[ast.AST]:
    """Nodes that run, or are type-checked, when the module is imported."""
    found: set[ast.AST] = set()
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        found.add(node)
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting.extend(ast.iter_child_nodes(node))
    return found


def allowed(room: str, target: str) -> bool:
    if target in BY_ALL or target == room or target == "__version__":
        return True
    if target == NATIVE:
        return room in BESIDE_NATIVE
    if room == FACADE:
        return target == "llm"
    return target in RANK and room in RANK and RANK[target] < RANK[room]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_stay_within_the_walls(path: Path) -> None:
    assert room_of(path) in {*RANK, *BY_ALL, FACADE}, "a room that the table does not know"
    assert list(faults(ast.parse(path.read_text()), path)) == []


def test_every_file_is_named_by_the_noun_it_owns() -> None:
    parts = {part for path in SOURCES for part in path.relative_to(PACKAGE).with_suffix("").parts}
    assert parts & BANNED == set()


def test_only_env_touches_the_environment() -> None:
    touching = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            name = getattr(node, "attr", getattr(node, "name", ""))
            if name in {"environ", "getenv", "putenv", "environb"}:
                touching.add(str(path.relative_to(PACKAGE)))
    assert touching == {"env.py"}


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("formats/gguf.py", "from ingle.hub import resolve"),
        ("formats/gguf.py", "from ingle import hub"),
        ("formats/gguf.py", "import ingle.cli.main"),
        ("formats/gguf.py", "from ..hub.names import resolve"),
        ("formats/gguf.py", "from .. import hub"),
        ("formats/gguf.py", "importlib.import_module(f'ingle.models.{name}')"),
        ("formats/gguf.py", "def f():\n    from ingle.llm import LLM"),
        ("formats/gguf.py", "def f():\n    from ingle.numerics import FORMATS"),
        ("formats/__init__.py", "def f():\n    from ingle.numerics import FORMATS"),
        ("formats/gguf.py", "def f():\n    from ingle.formats.container import Container"),
        ("numerics/q8.py", "from ingle.tokenizer import Tokenizer"),
        ("models/llama.py", "from ingle.backends.cpu import Cpu"),
        ("models/llama.py", "from ingle import LLM"),
        ("serve/app.py", "from ingle import _native"),
        ("errors.py", "from ingle.formats import GgufFile"),
        ("__init__.py", "from ingle.hub import resolve"),
        ("models/llama.py", "from ingle.nowhere import anything"),
    ],
)
def test_the_walk_finds_what_it_should(file: str, source: str) -> None:
    assert len(list(faults(ast.parse(source), PACKAGE / file))) == 1


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("hub/fetch.py", "from ingle import env\nfrom . import store\nfrom ..formats import gguf"),
        ("cli/run.py", "def f():\n    from ingle.llm import LLM"),
        ("__init__.py", "def f():\n    from ingle.llm import LLM"),
        ("models/llama.py", "import numpy\nfrom ingle.ops.protocol import Ops"),
        ("models/llama.py", "class A:\n    from ingle.ops import Ops"),
        ("backends/cpu/ops.py", "from ingle import _native"),
        ("models/llama.py", "def f():\n    import torch"),
        ("backends/__init__.py", "def f():\n    from ingle.backends.cpu import Cpu"),
    ],
)
def test_the_walk_lets_pass_what_it_should(file: str, source: str) -> None:
    assert list(faults(ast.parse(source), PACKAGE / file)) == []


HEAVY = ("numpy", "torch", "transformers", "tokenizers", "jinja2", "rich", "ingle.llm")


@pytest.mark.parametrize(
    "program", ["import ingle", "from ingle.cli.main import app; app(['--help'])"]
)
def test_start_up_loads_nothing_heavy(program: str) -> None:
    look = f"""
import sys
try:
    {program}
except SystemExit as end:
    assert not end.code
print("loaded:", *sorted({set(HEAVY)} & set(sys.modules)))
"""
    ended = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1].strip() == "loaded:"


def test_the_table_names_each_room_once() -> None:
    rooms = list(itertools.chain(*TABLE))
    assert len(rooms) == len(set(rooms))
