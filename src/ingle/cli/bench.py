"""``ingle bench MODEL``: owns the table of speeds, in llama-bench's shape, and its line of JSON.

What is run is `workload`'s, what it costs `traffic`'s, what it is held against `limits`'s.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ingle import hub
from ingle.backends.cpu.backend import CpuBackend
from ingle.cli import limits
from ingle.cli.limits import Limits
from ingle.cli.traffic import Traffic, traffic
from ingle.cli.wording import count, printable
from ingle.cli.workload import Test, Workload, check_tests
from ingle.errors import IngleError
from ingle.formats import open_container
from ingle.formats.summary import Summary, summarize
from ingle.hub.progress import as_size
from ingle.models import load_model
from ingle.ops import USUAL_KV_TYPE, kv_dtype
from ingle.ops.count import CountingBackend
from ingle.plan.limits import memory_limit

_MOST = {"-p": 1 << 20, "-n": 1 << 20, "-d": 1 << 20, "--batch": 256}
_MOST_REPETITIONS = 1000
_HEADINGS = (
    *("model", "size", "params", "backend", "threads", "test", "batch", "t/s"),
    *("MB/token", "of memory", "of peak"),
)


@dataclass(frozen=True)
class Wishes:
    """What the command line asks for; lists are text with commas. roofline: a program's path."""

    prompts: str = "512"
    answers: str = "32"
    depths: str = "0"
    batches: str = "1"
    repetitions: int = 5
    threads: int | None = None
    roofline: str | None = None
    as_json: bool = False
    kv_type: str = USUAL_KV_TYPE


@dataclass(frozen=True)
class Result:
    """A test, the seconds of each repetition, and what a token costs."""

    test: Test
    seconds: Sequence[float]
    cost: Traffic

    @property
    def rates(self) -> list[float]:
        """Tokens per second of each repetition, all sequences together."""
        return [self.test.tokens * self.test.batch / each for each in self.seconds]

    @property
    def median(self) -> float:
        """Tokens per second."""
        return statistics.median(self.rates)

    @property
    def spread(self) -> float:
        """Standard deviation, in tokens per second; 0 for a single repetition."""
        return statistics.stdev(self.rates) if len(self.rates) > 1 else 0.0


def bench(name: str, wishes: Wishes) -> None:
    """Time the model `name`; print the table and one JSON object. Raises IngleError."""
    tests, kv_type = wanted_tests(wishes), wishes.kv_type
    value_bytes = kv_dtype(kv_type, "--kv-type").itemsize
    container = open_container(hub.resolve(name))
    counted = load_model(container, CountingBackend(), 1)
    check_tests(counted, tests, memory_limit().nbytes, value_bytes)
    backend = CpuBackend(wishes.threads)
    program = Path(wishes.roofline) if wishes.roofline else None
    found = [limits.by_roofline(program, backend.pool.threads)] if program else []
    model = load_model(container, backend, max(test.positions for test in tests))
    container.release()
    seconds = [
        _timed(Workload(model, backend, test, kv_type), wishes.repetitions) for test in tests
    ]
    peak_rss_bytes = _peak_rss_bytes()
    found.append(_limits(program, backend))
    costs = [traffic(Workload(model, backend, test, kv_type)) for test in tests]
    limit = limits.mean(found)
    results = [Result(*each) for each in zip(tests, seconds, costs, strict=True)]
    summary = summarize(container)
    if not wishes.as_json:
        print(*page(summary, backend, results, limit), sep="\n")
        print(f"limits: {_origin(program)}; {', '.join(map(limits.shown, found))}")
    said = {
        "model": summary.facts.name or name,
        "threads": backend.pool.threads,
        "isa": backend.kernels,
        "kv_type": kv_type,
        **vars(limit),
        "peak_rss_bytes": peak_rss_bytes,
        "results": [_object(result, limit) for result in results],
    }
    print(json.dumps(said, ensure_ascii=False, allow_nan=False))


def wanted_tests(wishes: Wishes) -> list[Test]:
    """Prompts once, answers in every batch, all at every depth. Raises IngleError."""
    if not 1 <= wishes.repetitions <= _MOST_REPETITIONS:
        rule = f"repetitions must be from 1 to {_MOST_REPETITIONS}, but got {wishes.repetitions}"
        raise IngleError("-r", rule)
    prompts = [n for n in _numbers("-p", wishes.prompts) if n]
    answers = [n for n in _numbers("-n", wishes.answers) if n]
    batches = _numbers("--batch", wishes.batches)
    if 0 in batches:
        raise IngleError("--batch", "a batch must hold at least 1 sequence, but got 0")
    tests = []
    for depth in _numbers("-d", wishes.depths):
        tests += [Test(False, tokens, depth) for tokens in prompts]
        tests += [Test(True, tokens, depth, batch) for tokens in answers for batch in batches]
    if not tests:
        raise IngleError("-p", "a bench must have a prompt or an answer to time, but got none")
    return tests


def page(
    summary: Summary, backend: CpuBackend, results: Sequence[Result], limit: Limits
) -> list[str]:
    """The table as lines of Markdown."""
    quant = summary.shares[0].format if summary.shares else "?"
    name = printable(f"{summary.facts.name or summary.path.name} {quant}", 40)
    size, parameters = as_size(summary.weights_bytes), count(summary.num_parameters)
    rows = [list(_HEADINGS)]
    for result in results:
        test, row = result.test, _object(result, limit)
        rows.append([name, size, parameters, backend.kernels, str(backend.pool.threads)])
        rows[-1] += [f"{test.name} @ d{test.depth}" if test.depth else test.name, str(test.batch)]
        rows[-1] += [f"{result.median:.2f} ± {result.spread:.2f}"]
        rows[-1] += [f"{result.cost.nbytes / 1e6:,.2f}", f"{row['share_of_read_bandwidth']:.1%}"]
        rows[-1] += [f"{row['share_of_peak_ops']:.1%}"]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [[cell.rjust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    lines.insert(1, ["-" * (width - 1) + ":" for width in widths])
    return [f"| {' | '.join(line)} |" for line in lines]


def _object(result: Result, limit: Limits) -> dict[str, Any]:
    cost, rate = result.cost, result.median
    return {
        "test": result.test.name,
        "depth": result.test.depth,
        "batch": result.test.batch,
        "tokens_per_s": round(rate, 3),
        "spread": round(result.spread, 3),
        "bytes_per_token": round(cost.nbytes),
        "share_of_read_bandwidth": round(rate * cost.nbytes / limit.read_bytes_per_s, 4),
        "share_of_peak_ops": round(rate * cost.operations / limit.peak_ops_per_s, 4),
    }


def _timed(workload: Workload, repetitions: int) -> list[float]:
    workload.warm()
    return [workload.seconds() for _ in range(repetitions)]


def _limits(program: Path | None, backend: CpuBackend) -> Limits:
    threads = backend.pool.threads
    if program is None:
        return limits.native(threads, backend.kernels)
    return limits.by_roofline(program, threads)


def _origin(program: Path | None) -> str:
    if program is None:
        return "measured afterwards by ingle's own loops (--roofline names a program apart)"
    return f"by {printable(program.name, 40)}, before and after"


def _numbers(flag: str, text: str) -> list[int]:
    """Whole numbers between commas."""
    parts = text.split(",")
    most = _MOST[flag]
    if not all(part.strip().isdecimal() and int(part[:12]) <= most for part in parts):
        rule = (
            f"it must be whole numbers from 0 to {most} with commas between, but got {text!a:.60}"
        )
        raise IngleError(flag, rule, f"for example {flag} 1,4,8")
    return list(dict.fromkeys(int(part) for part in parts))


def _peak_rss_bytes() -> int | None:
    """Most memory this process held at once, mapped files included; None on Windows."""
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
