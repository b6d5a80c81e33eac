"""Owns the grammar of the commands that get, keep and show models, and look at the machine.

Each command's work has a file, which loads when the command runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ingle.cli.failure import guarded
from ingle.errors import IngleError

app = typer.Typer()

Name = Annotated[str, typer.Argument(metavar="NAME", help="A name, a path or user/repo[:quant].")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]


@app.command()
@guarded
def pull(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A known name or user/repo[:quant].")
    ] = None,
    hf: Annotated[
        str | None, typer.Option("-hf", "--hf-repo", metavar="USER/REPO[:QUANT]", help="The same.")
    ] = None,
    pack: Annotated[
        bool, typer.Option("--pack", help="Keep it packed alone: what was fetched is removed.")
    ] = False,
) -> None:
    """Fetch a model, or bring it up to date; `ingle list` shows known names."""
    from ingle.cli.pull import pull as fetch

    named = [*([name] if name else []), *([f"hf:{hf}"] if hf else [])]
    if len(named) != 1:
        rule = f"one model must be named, but got {len(named)}"
        raise IngleError("NAME", rule, "such as gpt-oss:20b; `ingle list` shows known names")
    fetch(named[0], pack)


@app.command("ls", hidden=True)
@app.command("list")
@guarded
def list_(as_json: Json = False) -> None:
    """List models: those here, whoever keeps them, and those known by name."""
    from ingle.cli.list import show as show_all

    show_all(as_json)


@app.command()
@guarded
def show(
    name: Name,
    as_json: Json = False,
    modelfile: Annotated[
        bool, typer.Option("--modelfile", help="A Modelfile that would create it again.")
    ] = False,
    template: Annotated[bool, typer.Option("--template", help="Its chat template.")] = False,
) -> None:
    """Say what a model is: architecture, size, context, quantization, licence, defaults."""
    from ingle.cli.show import show as tell

    tell(name, as_json, modelfile, template)


@app.command()
@guarded
def rm(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Models of ingle's own.")],
) -> None:
    """Remove models from this machine."""
    from ingle.cli.rm import rm as remove

    remove(names)


@app.command()
@guarded
def cp(
    source: Name,
    name: Annotated[str, typer.Argument(metavar="NEW", help="The other name.")],
) -> None:
    """Give a model another name."""
    from ingle.cli.cp import cp as copy

    copy(source, name)


@app.command()
@guarded
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it.")],
    file: Annotated[
        Path, typer.Option("-f", "--file", metavar="FILE", help="FROM, PARAMETER, SYSTEM ...")
    ] = Path("Modelfile"),
) -> None:
    """Make a model of a base and settings, by a Modelfile."""
    from ingle.cli.create import create as make

    make(name, file)


@app.command()
@guarded
def config(as_json: Json = False) -> None:
    """Show the settings in force, and where they come from."""
    from ingle.cli.config import show as tell

    tell(as_json)


@app.command()
@guarded
def doctor(
    measure: Annotated[
        bool, typer.Option("--measure", help="Measure memory, arithmetic and disk, for plans.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Say what this machine has, what ingle makes of it, and what is missing."""
    from ingle.cli.doctor import doctor as examine

    examine(measure, as_json)
