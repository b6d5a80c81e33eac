"""Owns the grammar of the commands that measure models: eval, imatrix, formats, report.

Each command's work has a file, which loads when the command runs.
"""

from __future__ import annotations

from typing import Annotated

import typer

from ingle.cli.failure import guarded

app = typer.Typer()


@app.command("eval")
@guarded
def evaluate(
    model: Annotated[str, typer.Argument(help="A file, folder or known name.")],
    text: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Text, or conversations in .jsonl."),
    ] = None,
    context: Annotated[int, typer.Option(help="Tokens of a window.")] = 512,
    chunks: Annotated[
        int | None, typer.Option(metavar="N", help="Windows, from the text's beginning.")
    ] = None,
    against: Annotated[
        str | None, typer.Option(metavar="REF", help="A reference: a model, or saved logits.")
    ] = None,
    save_logits: Annotated[
        str | None, typer.Option(metavar="FILE", help="Keep what the model said, as a reference.")
    ] = None,
    top: Annotated[
        int,
        typer.Option(metavar="N", help="Ids kept per position; 0: all, in llama.cpp's form."),
    ] = 128,
    exact: Annotated[
        bool,
        typer.Option(
            "--exact", help="Keep the model's activations in float32, but as an INT8 file asks."
        ),
    ] = False,
    exact_reference: Annotated[
        bool, typer.Option("--exact-reference", help="Keep the reference's in float32.")
    ] = False,
    threads: Annotated[int | None, typer.Option(help="Threads; default all cores.")] = None,
    backend: Annotated[
        str,
        typer.Option(metavar="cpu|reference", help="What computes."),
    ] = "cpu",
    kv_type: Annotated[
        str | None,
        typer.Option(metavar="f16|f32", help="What the model's keys and values are kept as."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure how well a model predicts a text, and how far it is from a reference."""
    from ingle.cli.eval import Wishes, evaluate_model

    wishes = Wishes(
        text,
        context,
        chunks,
        against,
        save_logits,
        top,
        exact,
        exact_reference,
        threads,
        backend,
        kv_type,
    )
    evaluate_model(model, wishes, as_json)


@app.command()
@guarded
def imatrix(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL | show FILE | merge A[:W] B[:W]...",
            help="A model to collect with, a matrix to show, or matrices to mix by weights.",
        ),
    ],
    files: Annotated[
        list[str] | None,
        typer.Option("--file", "-f", metavar="TEXT", help="Text, or conversations in .jsonl."),
    ] = None,
    out: Annotated[
        str | None, typer.Option("--out", "-o", metavar="FILE", help="GGUF, or .dat as of old.")
    ] = None,
    context: Annotated[int, typer.Option(help="Tokens of a window.")] = 512,
    chunks: Annotated[
        int | None, typer.Option(metavar="N", help="Windows, shared by all texts.")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="neo|di|tri", help="Kinds of text mixed evenly: -f general=F code=F horror=F."
        ),
    ] = None,
    process_output: Annotated[
        bool, typer.Option("--process-output", help="Watch the output matrix too.")
    ] = False,
    top_up: Annotated[
        bool, typer.Option("--top-up", help="Show cold experts the text once more.")
    ] = False,
    exact: Annotated[
        bool, typer.Option("--exact", help="Keep activations in float32, but as an INT8 file asks.")
    ] = False,
    threads: Annotated[int | None, typer.Option(help="Threads; default all cores.")] = None,
    png: Annotated[
        str | None, typer.Option(metavar="FILE", help="show: draw the rows of each expert.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="show: print one JSON object.")] = False,
) -> None:
    """Collect what input columns matter, for better quantization; show and mix such matrices."""
    from ingle.cli.imatrix import Wishes
    from ingle.cli.imatrix import imatrix as work

    wishes = Wishes(
        files or [], out, context, chunks, preset, process_output, top_up, exact, threads
    )
    work(words, wishes, png, as_json)


@app.command()
@guarded
def formats(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[FORMAT...]", help="All if left out.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="M", help="A model whose tensor to measure on.")
    ] = None,
    tensor: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The tensor; one from the middle if left out."),
    ] = None,
    png: Annotated[
        str | None, typer.Option(metavar="FILE", help="Draw the code grids and errors.")
    ] = None,
    threads: Annotated[int, typer.Option(help="Threads that encode.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show number formats side by side: bits, scales, and the error measured on a real tensor."""
    from ingle.cli.formats import formats as show

    show(model, tensor, names or [], png, threads, as_json)


@app.command()
@guarded
def report(
    models: Annotated[
        list[str], typer.Argument(metavar="MODEL...", help="Files, folders or known names.")
    ],
    text: Annotated[
        str | None, typer.Option(metavar="FILE", help="Text to predict, UTF-8.")
    ] = None,
    against: Annotated[
        str | None, typer.Option(metavar="REF", help="The reference; the first if left out.")
    ] = None,
    chunks: Annotated[int, typer.Option(metavar="N", help="Windows of 512 tokens.")] = 16,
    out: Annotated[
        str | None, typer.Option("--out", "-o", metavar="NAME", help="Write NAME.md and NAME.png.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Threads; default all cores.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False,
) -> None:
    """Make the card a publisher puts up: size, true bits, quality kept, speed."""
    from ingle.cli.card import report as make

    make(models, text, against, chunks, out, threads, as_json)


@app.command()
@guarded
def int8(
    source: Annotated[
        str, typer.Argument(metavar="SRC", help="A folder of safetensors in plain floats.")
    ],
    target: Annotated[
        str | None, typer.Argument(metavar="[DST]", help="The folder to write.")
    ] = None,
    activations: Annotated[
        str, typer.Option(metavar="none|dynamic|static", help="Round inputs too: W8A8.")
    ] = "none",
    group: Annotated[
        int | None, typer.Option(metavar="N", help="Columns that share a scale; a row if left out.")
    ] = None,
    asymmetric: Annotated[
        bool, typer.Option("--asymmetric", help="Weights with a zero point.")
    ] = False,
    asymmetric_inputs: Annotated[
        bool, typer.Option("--asymmetric-inputs", help="Inputs with a zero point.")
    ] = False,
    calibration: Annotated[
        str, typer.Option(metavar="minmax|percentile|mse", help="How ranges are chosen.")
    ] = "minmax",
    text: Annotated[
        str | None, typer.Option(metavar="FILE", help="Text to calibrate and scan with.")
    ] = None,
    context: Annotated[int, typer.Option(help="Tokens of a window.")] = 512,
    chunks: Annotated[int, typer.Option(metavar="N", help="Windows.")] = 8,
    keep_below: Annotated[
        float | None,
        typer.Option(metavar="DB", help="Keep layers whose outputs are worse than this."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Scan and tell, write nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Write an 8-bit integer checkpoint that transformers loads: weights alone, or inputs too."""
    from ingle.cli.int8 import Wishes
    from ingle.cli.int8 import int8 as work
    from ingle.quantize.int8.scheme import Scheme

    scheme = Scheme(group, not asymmetric, activations, not asymmetric_inputs, calibration)
    work(source, target, scheme, Wishes(text, context, chunks, keep_below, dry_run, as_json))
