"""Owns the command line's grammar: commands, options, their help. Each command's work has a file.

Those files load when their command runs, so that `ingle --help` answers at once.
"""

from __future__ import annotations

import gc
import io
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from ingle import __version__
from ingle.cli import harmony, keeping, measuring, planning, serving
from ingle.cli.failure import INTERRUPTED, MISTAKE, exit_code, guarded
from ingle.cli.help import lay_out
from ingle.cli.run_command import run
from ingle.cli.usage import UsageError, help_asked, mistake

app = typer.Typer(
    help="Run large open models on the machine you own.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,  # help in plain text needs a tenth of a second less
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(keeping.app)
app.add_typer(planning.app)
app.add_typer(measuring.app)
app.add_typer(serving.app)
app.add_typer(harmony.app, name="harmony")


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


app.command()(guarded(run))


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
def quantize(
    source: Annotated[str, typer.Argument(metavar="SRC", help="A model: file, folder or name.")],
    target: Annotated[
        str, typer.Argument(metavar="DST", help="A .gguf file, or a folder for safetensors.")
    ],
    type_name: Annotated[
        str | None, typer.Argument(metavar="[TYPE]", help="Such as Q4_K_M, IQ4_NL, MXFP4, INT8.")
    ] = None,
    imatrix: Annotated[
        str | None, typer.Option(metavar="FILE", help="An importance matrix: ingle imatrix.")
    ] = None,
    method: Annotated[
        str, typer.Option(metavar="ggml|search|gptq", help="GGML's bytes, or less error.")
    ] = "ggml",
    calibrate: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="Text files for --method gptq.")
    ] = None,
    chunks: Annotated[int, typer.Option(help="Windows of text for gptq, 512 tokens each.")] = 60,
    recipe: Annotated[
        str | None, typer.Option(metavar="llama.cpp|FILE.toml", help="Rules; docs/quantize.md.")
    ] = None,
    tensor_type: Annotated[
        list[str] | None,
        typer.Option(metavar="REGEX=TYPE", help="For tensors of such names; the first counts."),
    ] = None,
    output_tensor_type: Annotated[
        str | None, typer.Option(metavar="TYPE", help="For output.weight.")
    ] = None,
    token_embedding_type: Annotated[
        str | None, typer.Option(metavar="TYPE", help="For token_embd.weight.")
    ] = None,
    target_size: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Choose types so that it fits: 11GiB.")
    ] = None,
    target_bpw: Annotated[
        float | None, typer.Option(metavar="BITS", help="Likewise, in bits per weight.")
    ] = None,
    pure: Annotated[bool, typer.Option("--pure", help="One type, no mixture.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse types that do not fit a row.")
    ] = False,
    requantize_mxfp4: Annotated[
        bool, typer.Option("--requantize-mxfp4", help="Do not keep tensors in MXFP4.")
    ] = False,
    threads: Annotated[int | None, typer.Option(help="Threads; default all cores.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the table and stop.")] = False,
) -> None:
    """Write a model in smaller types; the table of what becomes of each tensor comes first."""
    from ingle import hub

    path = hub.resolve(source)
    from ingle.cli.quantize import Wishes, quantize_model

    wishes = Wishes(
        type=type_name,
        imatrix=imatrix,
        method=method,
        calibration=tuple(calibrate or ()),
        chunks=chunks,
        recipe=recipe,
        tensor_types=tuple(tensor_type or ()),
        output_type=output_tensor_type,
        embedding_type=token_embedding_type,
        target_size=target_size,
        target_bpw=target_bpw,
        pure=pure,
        strict=strict,
        requantize_mxfp4=requantize_mxfp4,
        threads=threads,
        dry_run=dry_run,
    )
    raise typer.Exit(quantize_model(str(path), target, wishes))


@app.command()
@guarded
def pack(
    source: Annotated[str, typer.Argument(metavar="SRC", help="A GGUF file or a known name.")],
    target: Annotated[
        str | None, typer.Argument(metavar="[DST]", help="A file; else what `run` takes.")
    ] = None,
    head: Annotated[
        str, typer.Option(metavar="q4", help="Fewer bits for the output matrix; see `show`.")
    ] = "",
    attention: Annotated[
        str, typer.Option(metavar="q4", help="The same for the matrices of attention.")
    ] = "",
    head_scan: Annotated[
        str, typer.Option(metavar="q4", help="Scan the output matrix so, read its best rows whole.")
    ] = "",
) -> None:
    """Write a model as the kernels read it, so that it starts at once and is mapped, not copied."""
    from ingle import hub

    path = hub.resolve(source)
    from ingle.cli.pack import pack as write

    raise typer.Exit(write(str(path), target, head, attention, head_scan))


@app.command()
@guarded
def bench(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A known name or a path.")],
    prompts: Annotated[
        str, typer.Option("-p", "--n-prompt", metavar="N,N", help="Prompts of so many tokens.")
    ] = "512",
    answers: Annotated[
        str, typer.Option("-n", "--n-gen", metavar="N,N", help="Answers of so many tokens.")
    ] = "32",
    depths: Annotated[
        str, typer.Option("-d", "--n-depth", metavar="N,N", help="Tokens that are there before.")
    ] = "0",
    batches: Annotated[
        str, typer.Option("--batch", metavar="N,N", help="Sequences that answer at once.")
    ] = "1",
    repetitions: Annotated[
        int, typer.Option("-r", "--repetitions", metavar="N", help="Times each test is run.")
    ] = 5,
    threads: Annotated[
        int | None, typer.Option("-t", "--threads", metavar="N", help="All usable cores if not.")
    ] = None,
    roofline: Annotated[
        str | None,
        typer.Option(metavar="PROGRAM", help="benchmarks/roofline, built: limits to compare with."),
    ] = None,
    kv_type: Annotated[
        str, typer.Option(metavar="f16|f32", help="What keys and values are kept as.")
    ] = "f16",
    as_json: Annotated[bool, typer.Option("--json", help="Print the JSON object alone.")] = False,
) -> None:
    """Time a model as llama-bench does: prompts and answers of random tokens; ends in JSON."""
    from ingle.cli.bench import Wishes
    from ingle.cli.bench import bench as measure

    wishes = Wishes(
        prompts, answers, depths, batches, repetitions, threads, roofline, as_json, kv_type
    )
    measure(model, wishes)


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


def main() -> None:
    """The program `ingle`; always ends in SystemExit."""
    gc.set_threshold(50_000)  # start-up makes objects and no rubbish: looking for it takes 0.04 s
    if sys.stdout is None:  # closed by whoever started this
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115  (stays open, as stdout does)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that is not UTF-8 still shows text
    sys.exit(_run())


def _run() -> int:
    """Do what the command line says; the exit code."""
    try:
        command = typer.main.get_command(app)
        lay_out(command)
        code = command(prog_name="ingle", standalone_mode=False)
    except UsageError as error:
        if (text := help_asked(error)) is not None:
            print(text, file=sys.stderr)
            return MISTAKE
        return exit_code(mistake(error, sys.argv[1:]))
    except typer.Abort:
        return INTERRUPTED
    except (Exception, KeyboardInterrupt) as error:
        return exit_code(error)
    return code if isinstance(code, int) else 0
