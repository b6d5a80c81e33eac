"""``ingle run``: one prompt answered, streamed or as JSON. Chats are in `talk`."""

from __future__ import annotations

import secrets
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ingle import env, hub
from ingle.cli.archive import Archive
from ingle.cli.report import as_json, cut_note, tell, why_cut
from ingle.cli.request import Options, split_words, whole_prompt
from ingle.cli.session import Session
from ingle.errors import IngleError

if TYPE_CHECKING:
    from ingle.llm import LLM, Completion
    from ingle.llm.stream import Stream

__all__ = ["Options", "run"]


def run(words: Sequence[str], options: Options) -> None:
    """Answer the prompt among `words`, in a file and on stdin, or chat if there is none."""
    options.check()
    if options.replay is not None:
        _replay(words, options)
        return
    model, typed = split_words(words)
    home = env.home_dir()
    archive = Archive(home / "conversations.db")
    try:
        prompt = whole_prompt(typed, options)
        _check_prompt(prompt, options)
        session = _session(model, options, archive)
        path = hub.resolve(session.model)  # before the heavy parts load
    except IngleError as error:
        raise _perhaps_a_prompt(error, words) from None
    if options.pack and options.backend == "cpu":
        from ingle.hub.packing import shelve

        shelve(path)
    from ingle.llm import LLM

    with LLM(
        session.model,
        packed=options.pack,
        backend=options.backend,
        threads=options.threads,
        context=options.context,
        exact=options.exact,
        kv_type=options.kv_type,
        quantization=options.quantize,
    ) as llm:
        session.system = llm.system if session.system is None else session.system
        if prompt is None:
            from ingle.cli.talk import Talk

            Talk(llm, session, options, archive, home).hold()
        elif options.raw:
            _continue(llm, session, prompt, options)
        else:
            _answer(llm, session, prompt, options)
            _save(archive, session, options)


def _replay(words: Sequence[str], options: Options) -> None:
    """Run a capture again; exit 1 if it comes out otherwise."""
    from ingle.cli import capture

    assert options.replay is not None
    told = capture.read(options.replay)
    asked, settings = split_words(words)[0], told["settings"]
    from ingle.llm import LLM

    with LLM(
        asked or str(settings.get("model")),
        packed=options.pack,
        backend=str(settings.get("backend")),
        threads=options.threads,
        context=settings.get("context"),
        exact=settings.get("exact") is True,
        kv_type=settings.get("kv_type", "f32"),  # older captures do not say
    ) as llm:
        code = capture.replay(llm, told)
    if code:
        sys.exit(code)


def _perhaps_a_prompt(error: IngleError, words: Sequence[str]) -> IngleError:
    """The same mistake, with what to do if a lone word was no model's name but a question."""
    if len(words) != 1 or not hub.is_model_word(words[0]) or hub.is_known(words[0]):
        return error
    ask = shlex.join(["ingle", "run", hub.DEFAULT_MODEL, words[0]])
    hint = f"{error.hint}; if it was meant as a prompt: {ask}"
    return type(error)(error.where, error.rule, hint.removeprefix("; "))


def _check_prompt(prompt: str | None, options: Options) -> None:
    needs = {
        "--raw": options.raw,
        "--json": options.as_json,
        "--capture": options.capture is not None,
    }
    for option, is_set in needs.items():
        if is_set and prompt is None:
            rule = "the option needs a prompt, but got none"
            raise IngleError(option, rule, "name it, or pipe it in")


def _session(model: str | None, options: Options, archive: Archive) -> Session:
    """A new conversation, or with -c the latest; a model and a system said now win."""
    session = Session.begin(model or hub.DEFAULT_MODEL, options)
    if options.resume:
        if not archive.restore(session):
            rule = "a conversation must have been saved, but got none"
            raise IngleError("--continue", rule, "begin one without the option")
        session.model = model or session.model
        session.system = session.system if options.system is None else options.system
    if options.capture is not None and session.sampling["seed"] is None:
        session.sampling["seed"] = secrets.randbits(53)
    return session


def _continue(llm: LLM, session: Session, prompt: str, options: Options) -> None:
    """Go on with raw text, to the letter: nothing in it is taken for reasoning."""
    from ingle.cli.answer import PlainDisplay, show_raw

    held = options.wishes.generate_options()
    stream = llm.generate(prompt, stream=True, **session.sampling, **held)
    if options.as_json or options.at_once:
        completion = stream.whole()
        print(as_json(session.model, completion) if options.as_json else completion.text)
    else:
        show_raw(stream, PlainDisplay())
        completion = stream.completion
    _tell_rest(llm, session, completion, options)
    _capture(llm, session, [stream], options)


def _answer(llm: LLM, session: Session, prompt: str, options: Options) -> None:
    from ingle.cli.answer import PlainDisplay, show

    said = session.asking(prompt)
    stream = llm.chat(said, stream=True, **session.chat_options)
    if options.as_json:
        completion = stream.whole()
        answer = completion.answer
        shown = "" if session.hide_reasoning else completion.reasoning
        results = getattr(stream, "results", ())
        print(as_json(session.model, completion, answer, shown, results))
    else:
        answer = show(stream, PlainDisplay(), session.hide_reasoning, options.at_once)
        completion = stream.completion
    session.add(prompt, answer, why_cut(completion, llm.context_tokens))
    _tell_rest(llm, session, completion, options)
    _capture(llm, session, getattr(stream, "replies", [stream]), options)


def _capture(llm: LLM, session: Session, replies: Sequence[Stream], options: Options) -> None:
    if options.capture is not None:
        from ingle.cli.capture import write

        write(llm, session.model, options, replies, options.capture)


def _tell_rest(llm: LLM, session: Session, completion: Completion, options: Options) -> None:
    """On stderr: timings if wished for, and why the answer ended early, if it did."""
    cut = why_cut(completion, llm.context_tokens)
    if cut and not options.as_json:
        print(cut_note(cut, completion, "see --context"), file=sys.stderr)
    if options.verbose:
        tell(session.model, llm.kernels, completion)


def _save(archive: Archive, session: Session, options: Options) -> None:
    """Keep the conversation for -c; an answer that was given is no failure for want of that."""
    if not options.save:
        return
    try:
        archive.save(session)
    except IngleError as error:
        print(f"{error}\n(this conversation is not saved)", file=sys.stderr)
