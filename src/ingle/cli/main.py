"""Owns the command line's grammar: commands, options, their help. Each command's work has a file.

Those files load when their command runs, so that `ingle --help` answers at once.
"""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ingle import __version__
from ingle.cli.failure import exit_code, guarded

app = typer.Typer(
    help="Run large open models on the machine you own.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,  # help in plain text needs a tenth of a second less
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _tell_version(wanted: bool) -> None:
    if wanted:
        print(f"ingle {__version__}")
        raise typer.Exit()


@app.callback()
def ingle(
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_tell_version, help="Show the version and leave."
        ),
    ] = False,
) -> None:
    """Run large open models on the machine you own."""


@app.command()
@guarded
def run(
    model: Annotated[
        str | None,
        typer.Argument(help="A known name, a path or user/repo; smollm2:135m if left out."),
    ] = None,
    prompt: Annotated[
        list[str] | None,
        typer.Argument(help="Piped text becomes the prompt, or its end. Without one: a chat."),
    ] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Continue the text as it is, without a chat template.")
    ] = False,
    temperature: Annotated[
        float | None, typer.Option(help="0 always takes the likeliest token.")
    ] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Sample from the likeliest tokens of this total chance.")
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(help="Sample from this many of the likeliest tokens, 0 from all.")
    ] = None,
    min_p: Annotated[
        float | None, typer.Option(help="Drop tokens less likely than this share of the likeliest.")
    ] = None,
    typical_p: Annotated[
        float | None, typer.Option(help="Sample from the most typical tokens of this total chance.")
    ] = None,
    repetition_penalty: Annotated[
        float | None, typer.Option(help="Above 1: less of what prompt and answer have said.")
    ] = None,
    presence_penalty: Annotated[
        float | None, typer.Option(help="Above 0: less of what the answer has said, -2 to 2.")
    ] = None,
    frequency_penalty: Annotated[
        float | None, typer.Option(help="The same, for each time it was said, -2 to 2.")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="creative|code|precise",
            help="Sampling to a purpose, at temperature 1.1, 0.5 or 0.2; single options win.",
        ),
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Stop after this many tokens.")] = None,
    seed: Annotated[int | None, typer.Option(help="Make sampling repeatable.")] = None,
    logprobs: Annotated[
        int | None,
        typer.Option(help="With --json: log-probabilities, and this many alternatives (0 to 20)."),
    ] = None,
    experts: Annotated[
        int | None, typer.Option(help="Experts per token, in a mixture of experts.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads; by default every core.")] = None,
    backend: Annotated[
        str, typer.Option(metavar="cpu|reference", help="Native kernels, or numpy.")
    ] = "cpu",
    exact: Annotated[
        bool, typer.Option("--exact", help="Compute in float32 throughout; slower.")
    ] = False,
    context: Annotated[int | None, typer.Option(help="Tokens the context holds.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object and nothing else.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Tell timings and the kernel set on stderr.")
    ] = False,
) -> None:
    """Ask a model, or chat with it."""
    from ingle.cli.run import Options
    from ingle.cli.run import run as answer

    sampling: dict[str, Any] = {
        "preset": preset,
        "temperature": temperature,
        "top_p": top_p,
        "top_k": top_k,
        "min_p": min_p,
        "typical_p": typical_p,
        "repetition_penalty": repetition_penalty,
        "presence_penalty": presence_penalty,
        "frequency_penalty": frequency_penalty,
        "max_tokens": max_tokens,
        "seed": seed,
        "logprobs": logprobs,
        "num_experts_per_tok": experts,
    }
    words = [*([] if model is None else [model]), *(prompt or [])]  # a lone prompt comes as MODEL
    answer(words, Options(raw, sampling, threads, backend, context, as_json, verbose, exact))


@app.command()
@guarded
def inspect(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A path or a known name.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    tensors: Annotated[bool, typer.Option("--tensors", help="List every tensor.")] = False,
) -> None:
    """Say what a model file holds and whether it runs here."""
    from ingle import hub

    path = hub.resolve(file)
    from ingle.cli.inspect import inspect as show

    raise typer.Exit(show(str(path), as_json, tensors))


@app.command()
@guarded
def pull(name: Annotated[str, typer.Argument(metavar="NAME", help="A known name.")]) -> None:
    """Fetch a model by name; `ingle list` shows the names."""
    from ingle.cli.pull import pull as fetch

    fetch(name)


@app.command("list")
@guarded
def list_() -> None:
    """List the known models and which of them are here."""
    from ingle.cli.list import show

    show()


@app.command()
@guarded
def rm(name: Annotated[str, typer.Argument(metavar="NAME", help="A known name.")]) -> None:
    """Remove a fetched model from this machine."""
    from ingle.cli.rm import rm as remove

    remove(name)


@app.command()
@guarded
def convert(
    source: Annotated[str, typer.Argument(metavar="SRC", help="A model: file, folder or name.")],
    target: Annotated[str, typer.Argument(metavar="DST", help="A .gguf file; a folder else.")],
    layout: Annotated[
        str, typer.Option("--to", metavar="gguf|hf|openai", help="Told by DST if left out.")
    ] = "",
) -> None:
    """Write a model in another layout, losing nothing; packed files become their GGUF again."""
    from ingle import hub

    path = hub.resolve(source)
    from ingle.cli.convert import convert as write

    raise typer.Exit(write(str(path), target, layout))


@app.command()
@guarded
def pack(
    source: Annotated[str, typer.Argument(metavar="SRC", help="A GGUF file or a known name.")],
    target: Annotated[
        str | None, typer.Argument(metavar="[DST]", help="Beside SRC if left out.")
    ] = None,
) -> None:
    """Write a model as the kernels read it, so that it starts at once and is mapped, not copied."""
    from ingle import hub

    path = hub.resolve(source)
    from ingle.cli.pack import pack as write

    raise typer.Exit(write(str(path), target))


@app.command()
@guarded
def synth(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A model, such as gpt-oss:20b.")],
    out: Annotated[str, typer.Argument(metavar="OUT", help="A file; a folder for hf, original.")],
    layers: Annotated[int | None, typer.Option(help="Layers, if not as many as published.")] = None,
    experts: Annotated[int | None, typer.Option(help="Experts per layer, likewise.")] = None,
    seed: Annotated[int, typer.Option(help="Another seed makes other weights.")] = 0,
    router_skew: Annotated[
        float, typer.Option(help="Popularity of experts falls as rank to the minus this.")
    ] = 0.0,
    file_format: Annotated[
        str, typer.Option("--format", metavar="gguf|hf|original", help="How the file is laid out.")
    ] = "gguf",
) -> None:
    """Write a model of true shapes and random weights, to measure and plan with."""
    from ingle.cli.synth import synth as write

    raise typer.Exit(write(name, out, layers, experts, seed, router_skew, file_format))


@app.command()
@guarded
def plan(
    model: Annotated[
        str, typer.Argument(help="An architecture, such as gpt-oss:20b, or a file or folder.")
    ],
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
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say what a model needs, whether it fits and how fast it will be, before any download."""
    from ingle import env
    from ingle.cli.plan import Wishes
    from ingle.cli.plan import plan as forecast

    wishes = Wishes(quant, context, batch, memory, gpu, vram)
    forecast(model, wishes, env.home_dir(), as_json, as_table)


def main() -> None:
    """The program `ingle`; always ends in SystemExit."""
    if sys.stdout is None:  # closed by whoever started this
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115  (stays open, as stdout does)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that is not UTF-8 still shows text
    try:
        app(prog_name="ingle")
    except (Exception, KeyboardInterrupt) as error:
        sys.exit(exit_code(error))
