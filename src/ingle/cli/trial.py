"""``ingle plan --check``: owns the run that a plan is held against, and how both are shown.

Ids are drawn at random: what a model of random weights would say loops, and flatters every cache.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

from rich.console import Console
from rich.text import Text

from ingle.backends import make_backend
from ingle.errors import UnsupportedError
from ingle.formats import open_container
from ingle.hub.progress import as_size
from ingle.models import load_model
from ingle.ops import Batch, KvLayout
from ingle.ops.protocol import run_model
from ingle.plan.anatomy import Census
from ingle.plan.forecast import Outlook
from ingle.plan.rates import read_corrections, write_corrections
from ingle.plan.subject import Subject
from ingle.plan.trial import Row, Trial, compared, corrected
from ingle.runtime.engine import CHUNK_TOKENS
from ingle.runtime.kv import KvPool, KvSequence

_PROMPT_TOKENS, _ANSWER_TOKENS = 512, 32
_SEED = 20250805


def check(subject: Subject, seen: Outlook, folder: Path, as_json: bool) -> None:
    """Run the file on this machine, print plan and run, store corrections in `folder`.

    Raises UnsupportedError for what is no file, and for a machine that is not at hand.
    """
    if subject.path is None:
        rule = f"a plan is checked by running a file, but got the name {subject.name}"
        raise UnsupportedError("--check", rule, "name a file; `ingle synth` makes one of any size")
    if seen.machine.name != "this machine" or seen.memory.batch != 1:
        rule = "a check runs here, one sequence at a time, but got another machine or batch"
        raise UnsupportedError("--check", rule, "leave out --gpu, --vram and --batch")
    if not seen.fits:
        rule = f"the plan must fit, but got {as_size(seen.memory.total_bytes)}"
        raise UnsupportedError("--check", rule, "choose a shorter --context")
    trial = run(subject.path, seen.memory.context_tokens)
    rows = list(compared(seen, trial))
    write_corrections(folder, corrected(read_corrections(folder), seen, trial))
    if as_json:
        print(json.dumps([vars(row) | {"error": row.error} for row in rows], allow_nan=False))
        return
    console = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
    for line in _page(rows):
        console.print(line)


def run(path: Path, context_tokens: int) -> Trial:
    """Load the model, run a prompt and an answer of random ids; what that took."""
    started = perf_counter()
    backend = make_backend("cpu")
    container = open_container(path)
    model = load_model(container, backend, context_tokens)
    container.release()  # pages of the file that were copied into kernel layout
    pool = KvPool(KvLayout(model.attention_shapes), context_tokens, CHUNK_TOKENS)
    load_s = perf_counter() - started
    draw, sequence = random.Random(_SEED), KvSequence(pool)
    prompt = max(1, min(_PROMPT_TOKENS, context_tokens - 1 - _ANSWER_TOKENS))
    answer = max(1, min(_ANSWER_TOKENS, context_tokens - prompt))

    def step(start: int, count: int) -> float:
        ids = [draw.randrange(model.vocab_size) for _ in range(count)]
        begun = perf_counter()
        backend.forward(model, Batch.chunk(ids, start, pool, sequence, [count - 1]))
        return perf_counter() - begun

    step(0, prompt)  # records the tape, touches the pages
    prompt_s = step(0, prompt)
    decode_s = sum(step(prompt + i, 1) for i in range(answer))
    touched, census = _process_bytes(), Census()
    run_model(model, census)
    kv = {"kv_full": 0, "kv_sliding": 0}
    for group, keys, values in zip(pool.layout.groups, pool.keys, pool.values, strict=True):
        kv["kv_sliding" if group.window else "kv_full"] += keys.nbytes + values.nbytes
    return Trial(
        load_s, prompt, prompt_s, answer, decode_s, census.bytes_by_category() | kv, touched
    )


def _process_bytes() -> int | None:
    """Anonymous and mapped pages of this process; None where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    names = ("RssAnon", "RssFile", "RssShmem")
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(names))


def _page(rows: list[Row]) -> Iterator[Text]:
    yield Text(f"{'':<20}{'planned':>16}{'measured':>16}{'off by':>10}", style="dim")
    for row in rows:
        shown = (_shown(row.planned, row.unit), _shown(row.measured, row.unit))
        yield Text(f"{row.name:<20}{shown[0]:>16}{shown[1]:>16}{row.error:>+10.1%}")
    yield Text("speeds of the next plan are corrected by what was measured", style="dim")


def _shown(value: float, unit: str) -> str:
    if unit == "bytes":
        return as_size(round(value))
    return f"{value:,.2f} {unit}" if unit == "s" else f"{value:,.1f} {unit}"
