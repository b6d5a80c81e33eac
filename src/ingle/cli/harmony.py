"""Owns `ingle harmony`: rendering a conversation file, reading ids; for debugging and reports.

It does not know models: gpt-oss's vocabulary comes with ingle.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ingle.cli.failure import guarded
from ingle.errors import IngleError

if TYPE_CHECKING:
    from ingle.chat.event import Event
    from ingle.chat.harmony import HarmonyParser

_FILE_BYTES = 64 << 20

app = typer.Typer(
    help="Render and read Harmony, the conversation format of gpt-oss.", no_args_is_help=True
)


@app.command()
@guarded
def render(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A conversation; - is stdin.")],
    ids: Annotated[bool, typer.Option("--ids", help="One JSON array of token ids.")] = False,
    text: Annotated[bool, typer.Option("--text", help="Their text (the default).")] = False,
) -> None:
    """Show the prompt that a conversation becomes, up to the assistant's opened turn.

    FILE has the JSON shape of openai-harmony: {"messages": [...], "auto_drop_analysis": true}.
    """
    if ids and text:
        raise IngleError("--text", "one form is shown, but got both --ids and --text")
    from ingle.chat.harmony import render as render_ids
    from ingle.chat.harmony.conversation_file import read_conversation
    from ingle.chat.harmony.policy import kept
    from ingle.tokenizer import o200k_harmony

    said = read_conversation(_read(file))
    rendered = render_ids(kept(said.messages, said.policy))
    print(json.dumps(rendered) if ids else o200k_harmony().decode(rendered))


@app.command()
@guarded
def parse(
    file: Annotated[
        str, typer.Argument(metavar="[FILE]", help="Ids: a JSON array, or divided by blanks.")
    ] = "-",
    verbose: Annotated[bool, typer.Option("--verbose", help="Count repairs on stderr.")] = False,
) -> None:
    """Show what ids of gpt-oss say, as events, one JSON object a line.

    They are read as what follows <|start|>assistant, or from <|start|> on where they begin with it.
    FILE left out or - is stdin.
    """
    from ingle.chat.harmony import HarmonyParser

    ids = read_ids(_read(file))
    parser = HarmonyParser()
    for event in _events(parser, ids):
        print(json.dumps(as_object(event), ensure_ascii=False))
    if verbose:
        counted = {"harmony_repairs": sum(parser.repairs.values()), "by_rule": parser.repairs}
        print(json.dumps(counted), file=sys.stderr)


def read_ids(text: str) -> list[int]:
    """Token ids from a JSON array or from words. Raises IngleError for anything else."""
    words: Any = text.split()
    if text.lstrip().startswith("["):
        try:
            words = json.loads(text)
        except (ValueError, RecursionError) as error:
            said = " ".join(str(error).split())[:80]
            raise IngleError("ids", f"they are a JSON array, but got: {said}") from None
    return [_id(word) for word in words]


def as_object(event: Event) -> dict[str, Any]:
    """An event for JSON: its kind, its ids, and the fields that are set."""
    fields = {name: getattr(event, name) for name in type(event).__slots__}
    message = fields.pop("message", None)
    if message is not None:
        fields |= {key: value for key, value in vars(message).items() if value not in (None, ())}
    ids = list(fields.pop("ids"))
    said = {key: value for key, value in fields.items() if value is not None}
    return {"event": type(event).__name__, **said, "ids": ids}


def _events(parser: HarmonyParser, ids: Iterable[int]) -> Iterator[Event]:
    for token_id in ids:
        yield from parser.feed(token_id)
    yield from parser.finish()


def _id(word: Any) -> int:
    if isinstance(word, int) and not isinstance(word, bool):
        return word
    if isinstance(word, str) and word.isascii() and word.lstrip("-").isdigit() and len(word) < 20:
        return int(word)
    raise IngleError("ids", f"an id is a whole number, but got {word!r:.60}")


def _read(file: str) -> str:
    """The text of a file or of stdin, in UTF-8 and not endless."""
    where = "stdin" if file == "-" else file
    if file == "-":
        data = sys.stdin.buffer.read(_FILE_BYTES + 1)
    else:
        try:
            with Path(file).open("rb") as opened:
                data = opened.read(_FILE_BYTES + 1)
        except OSError as error:
            rule = f"the file must be readable, but got: {error.strerror or error}"
            raise IngleError(where, rule) from None
    if len(data) > _FILE_BYTES:
        raise IngleError(where, f"it has at most {_FILE_BYTES} bytes, but got more")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        rule = f"it is UTF-8, but got another byte at offset {error.start}"
        raise IngleError(where, rule) from None
