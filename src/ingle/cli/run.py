"""``ingle run``: one prompt answered, streamed or as JSON. Chats are in `talk`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ingle import hub
from ingle.cli.report import as_json, tell
from ingle.cli.request import Options, split_words, whole_prompt
from ingle.errors import IngleError

if TYPE_CHECKING:
    from ingle.llm import LLM, Completion, Stream

__all__ = ["Options", "run"]


def run(words: Sequence[str], options: Options) -> None:
    """Answer the prompt among `words` and on stdin, or chat if there is none."""
    options.check()
    model, typed = split_words(words)
    prompt = whole_prompt(typed, options.raw)
    if prompt is None and (options.raw or options.as_json):
        option = "--raw" if options.raw else "--json"
        raise IngleError(
            option, "the option needs a prompt, but got none", "name it, or pipe it in"
        )
    path = hub.resolve(model)
    from ingle.llm import LLM

    with LLM(
        path,
        backend=options.backend,
        threads=options.threads,
        context=options.context,
        exact=options.exact,
    ) as llm:
        if prompt is None:
            from ingle.cli.talk import Talk

            Talk(llm, model, options).hold()
        else:
            _answer(llm, model, prompt, options)


def _answer(llm: LLM, model: str, prompt: str, options: Options) -> None:
    ask = llm.generate if options.raw else llm.chat
    if options.as_json:
        completion = ask(prompt, stream=False, **options.sampling)
        print(as_json(model, completion))
    else:
        completion = _print_stream(ask(prompt, stream=True, **options.sampling))
        tell_if_cut(completion, options)
    if options.verbose:
        tell(model, llm.kernels, completion)


def _print_stream(stream: Stream) -> Completion:
    """Print the pieces as they come; whatever breaks in, the stream is cancelled."""
    last = ""
    try:
        for piece in stream:
            sys.stdout.write(piece)
            sys.stdout.flush()
            last = piece or last
    except BaseException:
        stream.cancel()
        raise
    if not last.endswith("\n"):
        print(flush=True)
    return stream.completion


def tell_if_cut(completion: Completion, options: Options) -> None:
    """Say so when the context, and not a wish, ended the answer."""
    if completion.finish_reason == "length" and options.sampling["max_tokens"] is None:
        total = completion.usage.total_tokens
        print(f"(cut: the context is full at {total} tokens; see --context)", file=sys.stderr)
