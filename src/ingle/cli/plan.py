"""``ingle plan``: owns how a forecast is laid out on a terminal, 80 columns wide, or as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from ingle.errors import IngleError
from ingle.hub.progress import as_size
from ingle.plan import forecast, hardware
from ingle.plan.forecast import Outlook
from ingle.plan.hardware import Machine
from ingle.plan.limits import parse_size
from ingle.plan.local import this_machine
from ingle.plan.page import page
from ingle.plan.subject import Subject, open_subject

_LABELS = {
    "attention": "attention",
    "mlp": "MLP and routers",
    "experts_resident": "experts",
    "experts_streamed": "experts on disk",
    "embeddings": "embeddings",
    "head": "output matrix",
    "kv_full": "keys and values, all tokens",
    "kv_sliding": "keys and values, windows",
    "activations": "activations",
    "prefix_snapshots": "kept prefixes",
    "runtime": "program and tables",
}
_BAR = 28  # columns
_SHOWN_MACHINES = 8
_WIDTH = 80  # columns


@dataclass(frozen=True)
class Wishes:
    """The options of the command; None where nothing was said."""

    quant: str | None = None
    context_tokens: int | None = None
    batch: int = 1
    memory: str | None = None
    gpu: str | None = None
    vram: str | None = None


@dataclass(frozen=True)
class Shown:
    """What of a forecast is shown, and how."""

    as_json: bool = False
    as_table: bool = False
    check: bool = False


def plan(model: str, wishes: Wishes, folder: Path, shown: Shown) -> None:
    """Print the forecast of a model. folder: where measurements lie. Raises IngleError."""
    machine = _machine(wishes, folder)
    subject = open_subject(model, wishes.quant)
    seen = forecast.outlook(subject, machine, wishes.context_tokens, wishes.batch)
    if shown.check:
        from ingle.cli.trial import check

        check(subject, seen, folder, shown.as_json)
        return
    if shown.as_json:
        print(json.dumps(_object(subject, seen), allow_nan=False))
        return
    console = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
    for line in _table(subject, seen) if shown.as_table else _page(subject, seen):
        console.print(line)


def write_page(html: str, model: str | None, wishes: Wishes, folder: Path) -> None:
    """Write the page with all known models, a file among them if one is named."""
    files = [] if model is None else [open_subject(model, wishes.quant)]
    files = [subject for subject in files if subject.path is not None]
    Path(html).write_text(page(files, _machine(wishes, folder)), encoding="utf-8")
    print(html)


def _machine(wishes: Wishes, folder: Path) -> Machine:
    said = [name for name in ("memory", "gpu", "vram") if getattr(wishes, name) is not None]
    if len(said) > 1:
        names = " and ".join(f"--{name}" for name in said)
        raise IngleError("plan", f"one machine must be named, but got {names}")
    if wishes.gpu is not None:
        return hardware.find(wishes.gpu)
    if wishes.vram is not None:
        return hardware.of_size(parse_size(wishes.vram, "--vram"))
    limit = None if wishes.memory is None else parse_size(wishes.memory, "--memory")
    return this_machine(folder, limit)


def _object(subject: Subject, seen: Outlook) -> dict[str, object]:
    memory = seen.memory
    best = forecast.best_choice(subject, seen.machine, memory.context_tokens, memory.batch)
    others = forecast.sufficient(subject, memory.context_tokens, memory.batch)
    return forecast.as_object(seen) | {
        "best": None if best is None else vars(best),
        "sufficient": [
            {
                "machine": one.machine.name,
                "memory_bytes": one.machine.memory_bytes,
                "decode_tokens_per_s": one.speed.decode_tokens_per_s,
                "prefill_tokens_per_s": one.speed.prefill_tokens_per_s,
            }
            for one in others
        ],
    }


def _page(subject: Subject, seen: Outlook) -> Iterator[Text]:
    yield from _title(seen)
    yield Text()
    yield from _categories(seen)
    yield Text()
    yield from _speed(seen)
    yield Text()
    yield from _best(subject, seen)
    yield from _others(subject, seen)


def _title(seen: Outlook) -> Iterator[Text]:
    model, memory = seen.model, seen.memory
    sequences = f", {memory.batch} at once" if memory.batch > 1 else ""
    yield Text.assemble(
        (_short(model.name, 34), "bold"),
        f"  {model.recipe}, {memory.context_tokens:,} tokens of context{sequences}",
    )
    name = seen.machine.name
    yield Text(f"on {name} ({_short(seen.machine.source, _WIDTH - len(name) - 6)})", style="dim")


def _categories(seen: Outlook) -> Iterator[Text]:
    memory = seen.memory
    shown = {name: size for name, size in memory.categories.items() if size}
    largest = max(shown.values())
    for name, size in shown.items():
        bar = "█" * max(1, round(_BAR * size / largest)) if size / largest > 0.004 else "▏"
        yield Text.assemble(f"{_LABELS[name]:<28}{as_size(size):>10}  ", (bar, "cyan"), style="")
    limit = seen.machine.memory_bytes
    room = f"{as_size(limit)} ({_gib(limit)})"
    share = f"{memory.total_bytes / limit:.0%} of {room}" if limit < 1 << 60 else ""
    verdict = ("fits", "bold green") if seen.fits else ("does not fit", "bold red")
    yield Text.assemble(
        ("in all", "bold"), " " * 22, f"{as_size(memory.total_bytes):>10}  ", verdict
    )
    if share:
        yield Text(f"{'':<40}{share}", style="dim")


def _speed(seen: Outlook) -> Iterator[Text]:
    speed = seen.speed
    rows = (
        ("answer", f"{_rate(speed.decode_tokens_per_s)}, limited by {speed.limited_by}"),
        ("prompt", f"{_rate(speed.prefill_tokens_per_s)}"),
        ("first token", f"after {_seconds(speed.ttft_s)}, of {speed.prompt_tokens} prompt tokens"),
        ("loading", f"{_seconds(speed.load_s)} for {_size_and_place(seen)}"),
    )
    for label, text in rows:
        yield Text.assemble((f"{label:<13}", "dim"), text)


def _size_and_place(seen: Outlook) -> str:
    size = as_size(seen.model.file_bytes)
    if seen.cold_bytes >= seen.model.file_bytes:
        return size
    place = f"{as_size(seen.cold_bytes)} from the disk" if seen.cold_bytes else "in memory already"
    return f"{size}, {place}"


def _best(subject: Subject, seen: Outlook) -> Iterator[Text]:
    memory = seen.memory
    best = forecast.best_choice(subject, seen.machine, memory.context_tokens, memory.batch)
    label = (f"{'best here':<13}", "dim")
    if best is None:
        yield Text.assemble(label, "nothing of it fits: a smaller model, or another machine")
        return
    quant = f"{best.quant}, " if best.quant else ""
    speed = _rate(best.decode_tokens_per_s)
    yield Text.assemble(label, f"{quant}up to {best.context_tokens:,} tokens, {speed}")


def _others(subject: Subject, seen: Outlook) -> Iterator[Text]:
    memory = seen.memory
    found = forecast.sufficient(subject, memory.context_tokens, memory.batch)
    if not found:
        yield Text("no machine of the table holds it", style="yellow")
        return
    yield Text()
    yield Text(f"{'machines that hold it':<26}{'memory':>10}{'answer':>19}{'prompt':>20}", "dim")
    for one in found[:_SHOWN_MACHINES]:
        answer, prompt = one.speed.decode_tokens_per_s, one.speed.prefill_tokens_per_s
        size = _gib(one.machine.memory_bytes)
        yield Text(f"{one.machine.name:<26}{size:>10}{_rate(answer):>19}{_rate(prompt):>20}")
    if len(found) > _SHOWN_MACHINES:
        yield Text(f"and {len(found) - _SHOWN_MACHINES} more (--json lists all)", style="dim")


def _table(subject: Subject, seen: Outlook) -> Iterator[Text]:
    limit, batch = seen.machine.memory_bytes, seen.memory.batch
    yield Text.assemble(
        (_short(seen.model.name, 34), "bold"), f"  GB of memory on {seen.machine.name}"
    )
    heads = "".join(f"{context // 1024:>7}k" for context in forecast.TABLE_CONTEXTS)
    yield Text(f"{'':<16}{heads}", style="dim")
    for name, plans in forecast.table(subject, seen.machine, batch):
        line = Text(f"{name:<16}")
        for cell in plans:
            if cell is None:
                line.append(f"{'-':>8}", style="dim")
                continue
            fits = cell.total_bytes <= limit
            mark, style = (" ", "green") if fits else ("!", "red")
            line.append(f"{cell.total_bytes / 1e9:>7.1f}{mark}", style=style)
        yield line
    yield Text(f"! does not fit into {as_size(limit)} ({_gib(limit)})", style="dim")


def _gib(nbytes: int) -> str:
    """As makers of machines count: a card of 16 GB has 16 GiB."""
    return f"{nbytes / (1 << 30):.3g} GiB"


def _rate(tokens_per_s: float) -> str:
    digits = 0 if tokens_per_s >= 100 else 1
    return f"{tokens_per_s:,.{digits}f} tokens/s"


def _seconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:,.1f} s"


def _short(text: str, limit: int) -> str:
    clean = text if text.isprintable() else ascii(text)[1:-1]
    return clean if len(clean) <= limit else clean[: limit - 3] + "..."
