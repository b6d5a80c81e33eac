"""Owns the grammar of the commands that look ahead: plan and compare.

Each command's work has a file, which loads when the command runs.
"""

from __future__ import annotations

from typing import Annotated

import typer

from ingle.cli.failure import guarded
from ingle.errors import IngleError

app = typer.Typer()


@app.command()
@guarded
def plan(
    model: Annotated[
        str | None,
        typer.Argument(help="An architecture, such as gpt-oss:20b, or a file or folder."),
    ] = None,
    quant: Annotated[
        str | None,
        typer.Option(metavar="T", help="Number format: Q8_0, or of experts and rest: MXFP4+BF16."),
    ] = None,
    context: Annotated[int | None, typer.Option(help="Tokens the context holds.")] = None,
    batch: Annotated[int, typer.Option(help="Sequences at once.")] = 1,
    memory: Annotated[
        str | None, typer.Option(metavar="8GiB", help="A limit other than this machine's.")
    ] = None,
    gpu: Annotated[
        str | None, typer.Option(metavar="NAME", help="A machine of the table, such as RTX 4090.")
    ] = None,
    vram: Annotated[
        str | None, typer.Option(metavar="16GiB", help="A GPU of which only this is known.")
    ] = None,
    as_table: Annotated[
        bool, typer.Option("--table", help="Quantizations by contexts, 1k to 125k.")
    ] = False,
    html: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write a page to try all models on.")
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Measure, run the file, hold the plan against it, and learn. A minute."
        ),
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print one JSON object. experts_streamed and prefix_snapshots are 0 until used.",
        ),
    ] = False,
) -> None:
    """Say what a model needs, whether it fits and how fast it will be, before any download."""
    from ingle import env
    from ingle.cli.plan import Shown, Wishes, write_page
    from ingle.cli.plan import plan as forecast

    wishes = Wishes(quant, context, batch, memory, gpu, vram)
    if html is not None:
        write_page(html, model, wishes, env.home_dir())
        return
    if model is None:
        raise IngleError("MODEL", "a model must be named, but got none", "such as gpt-oss:20b")
    forecast(model, wishes, env.home_dir(), Shown(as_json, as_table, check))


@app.command()
@guarded
def compare(
    models: Annotated[
        list[str], typer.Argument(metavar="MODEL...", help="Architectures, files or folders.")
    ],
    html: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write a page with drawings.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False,
) -> None:
    """Show models side by side: sizes, costs, and what they are built of."""
    from ingle.cli.compare import compare as show

    show(models, html, as_json)
