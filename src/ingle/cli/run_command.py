"""Owns the grammar of `ingle run`: its options and their help. The work is in `run`.

That file loads when the command runs, so that `ingle --help` answers at once.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer


def run(
    model: Annotated[
        str | None,
        typer.Argument(help="A known name, a path or user/repo; smollm2:135m if left out."),
    ] = None,
    prompt: Annotated[
        list[str] | None,
        typer.Argument(help="Piped text becomes the prompt, or its end. Without one: a chat."),
    ] = None,
    hf: Annotated[
        str | None,
        typer.Option("-hf", "--hf-repo", metavar="USER/REPO[:QUANT]", help="Names the model."),
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
        bool,
        typer.Option(
            "--exact", help="Compute in float32 but where an INT8 file rounds inputs; slower."
        ),
    ] = False,
    kv_type: Annotated[
        str | None, typer.Option(metavar="f16|f32", help="What keys and values are kept as.")
    ] = None,
    context: Annotated[
        int | None, typer.Option("--context", "--num-ctx", help="Tokens the context holds.")
    ] = None,
    system: Annotated[
        str | None, typer.Option(help="What the model is told before all else.")
    ] = None,
    reasoning: Annotated[
        str | None,
        typer.Option(
            "--reasoning",
            "--think",
            metavar="on|off|none|low|medium|high",
            help="How much to reason, where the model takes it.",
        ),
    ] = None,
    reasoning_budget: Annotated[
        int | None,
        typer.Option(help="Tokens of reasoning at most; then the answer begins."),
    ] = None,
    hide_reasoning: Annotated[
        bool, typer.Option("--hide-reasoning", help="Show the answer alone.")
    ] = False,
    file: Annotated[
        str | None,
        typer.Option("-f", "--file", metavar="FILE", help="Add a file's text to the prompt."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("-c", "--continue", help="Go on with the latest conversation.")
    ] = False,
    no_save: Annotated[
        bool, typer.Option("--no-save", help="Keep no record of what is said.")
    ] = False,
    no_pack: Annotated[
        bool, typer.Option("--no-pack", help="Run a large GGUF as it is; make no packed copy.")
    ] = False,
    no_stream: Annotated[
        bool, typer.Option("--no-stream", help="Show the answer when it is complete.")
    ] = False,
    answer_format: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="json|FILE",
            help="Hold the answer to JSON, a JSON Schema (.json) or a grammar (.lark).",
        ),
    ] = None,
    style: Annotated[
        str | None,
        typer.Option(
            metavar="structured",
            help="Question, points, conclusion, suggestions; with --format json, as JSON.",
        ),
    ] = None,
    tools: Annotated[
        str | None,
        typer.Option(metavar="FILE.py", help="Let the model call the functions in a file."),
    ] = None,
    tool_choice: Annotated[
        str | None,
        typer.Option(metavar="auto|none|required|NAME", help="Whether it may, or must, call."),
    ] = None,
    max_turns: Annotated[
        int | None, typer.Option(help="Replies at most, each of which may call tools; usually 8.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Make every call without asking.")] = False,
    capture: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Write the answer's ids, seed and settings, for a bug."),
    ] = None,
    replay: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Run what was captured, and say if it is the same."),
    ] = None,
    quantize: Annotated[
        str | None, typer.Option(metavar="TYPE", help="Insist on a model that is stored so.")
    ] = None,
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
    from ingle.cli.wishes import AnswerWishes

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
    words = [f"hf:{hf}", *words] if hf else words
    options = Options(
        raw,
        sampling,
        threads,
        backend,
        context,
        as_json,
        verbose,
        exact,
        system=system,
        reasoning=reasoning,
        hide_reasoning=hide_reasoning,
        at_once=no_stream,
        prompt_file=file,
        resume=resume,
        save=not no_save,
        pack=not no_pack,
        wishes=AnswerWishes(
            answer_format, style, reasoning_budget, tools, tool_choice, max_turns, yes
        ),
        capture=capture,
        replay=replay,
        quantize=quantize,
        kv_type=kv_type,
    )
    answer(words, options)
