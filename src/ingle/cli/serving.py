"""Owns the grammar of the commands around the server. Each command's work has a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ingle.cli.failure import guarded

app = typer.Typer()


@app.command()
@guarded
def serve(
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MODEL...]", help="Names or paths; smollm2:135m if left out."),
    ] = None,
    host: Annotated[
        str | None, typer.Option(metavar="HOST", help="Address to listen at; 127.0.0.1.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(metavar="PORT", min=0, max=65535, help="11434; 0: any free one.")
    ] = None,
    context: Annotated[
        int | None, typer.Option(metavar="TOKENS", help="That a prompt and its answer may have.")
    ] = None,
    parallel: Annotated[
        int, typer.Option(metavar="N", help="Full contexts that memory is taken for.")
    ] = 4,
    cache_ram: Annotated[
        str, typer.Option(metavar="SIZE", help="More memory for prompts that begin alike.")
    ] = "512MiB",
    cache_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where they are kept across restarts.")
    ] = None,
    cache_size: Annotated[
        str, typer.Option(metavar="SIZE", help="Of DIR, at most, for each model.")
    ] = "4GiB",
    threads: Annotated[
        int | None, typer.Option(metavar="N", help="CPU threads; every usable core.")
    ] = None,
) -> None:
    """Serve models to clients of OpenAI's API, many at once."""
    from ingle.cli.serve import serve as run

    kept = None if cache_dir is None else (cache_dir, cache_size)
    run(models or [], host, port, context, parallel, cache_ram, kept, threads)


@app.command()
@guarded
def ps(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """List the models of the running server, and what they are doing."""
    from ingle.cli.ps import ps as tell

    tell(as_json)


@app.command()
@guarded
def stop(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="The model to unload; none: the server.")
    ] = None,
) -> None:
    """Unload a model of the running server, or end the server."""
    from ingle.cli.stop import stop as end

    end(name)
