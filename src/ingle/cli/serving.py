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
        typer.Argument(
            metavar="[MODEL...]",
            help="Names or paths; if left out, smollm2:135m, and any model that is here.",
        ),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(metavar="HOST", help="Address to listen at; 127.0.0.1."),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(metavar="PORT", min=0, max=65535, help="11434; 0: any free one."),
    ] = None,
    context: Annotated[
        int | None,
        typer.Option(metavar="TOKENS", min=1, help="That a prompt and its answer may have."),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="For all models; nine tenths of what is there."),
    ] = None,
    parallel: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, max=64, help="Full contexts at most; 8, if memory has room."
        ),
    ] = None,
    keep_alive: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="That an idle model stays loaded: 5m, 0, -1 for ever."),
    ] = None,
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
        int | None, typer.Option(metavar="N", min=1, help="CPU threads; every usable core.")
    ] = None,
    kv_type: Annotated[
        str | None, typer.Option(metavar="f16|f32", help="What keys and values are kept as.")
    ] = None,
    api_key: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY", help="Lets in who sends it; may be repeated. INGLE_API_KEY is one too."
        ),
    ] = None,
    api_key_file: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Keys, one a line."),
    ] = None,
    no_auth: Annotated[
        bool,
        typer.Option("--no-auth", help="Let everybody in who reaches the address."),
    ] = False,
    cors_origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORIGIN", help="Web pages that may ask, beside this machine's own; * for all."
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="One more name of this server's."),
    ] = None,
    grace: Annotated[
        str, typer.Option(metavar="TIME", help="That running answers get at the end.")
    ] = "10s",
    log_prompts: Annotated[
        bool, typer.Option("--log-prompts", help="Write requests to the log, prompts and all.")
    ] = False,
) -> None:
    """Serve models to clients of OpenAI's, Ollama's and Anthropic's APIs, many at once."""
    from ingle.cli.serve import Wish
    from ingle.cli.serve import serve as run

    wish = Wish(
        host=host,
        port=port,
        context=context,
        threads=threads,
        memory=memory,
        parallel=parallel,
        keep_alive=keep_alive,
        cache_ram=cache_ram,
        cache_dir=cache_dir,
        cache_size=cache_size,
        kv_type=kv_type,
        api_keys=api_key or [],
        api_key_files=api_key_file or [],
        no_auth=no_auth,
        cors_origins=cors_origin or [],
        allowed_hosts=allow_host or [],
        grace=grace,
        log_prompts=log_prompts,
    )
    run(models or [], wish)


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
