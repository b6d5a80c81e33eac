"""Structure-aware fuzzing of everything that opens files from elsewhere.

    python tests/hostile/fuzz_containers.py --count 10000 --seed 1
    python tests/hostile/fuzz_containers.py --only gguf --case 4711     # one case, with traceback

Every case must open and read everything, or raise IngleError, within a second of CPU time and
1 GiB of address space. Cases are numbered, and a case's number alone decides its bytes. Other
readers of hostile files add a `Target` to TARGETS.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # its buffers count as address space

import numpy as np
from mutation import mutate

from ingle.cli.inspect import inspect
from ingle.errors import IngleError
from ingle.formats.convert import convert
from ingle.formats.detect import open_container
from ingle.formats.gguf_strings import StringArray
from ingle.formats.writer import TensorSpec, write_gguf, write_safetensors

ADDRESS_SPACE_BYTES = 1 << 30
CPU_SECONDS = 1.0
STUCK_SECONDS = 30.0
NUM_WORKERS = 2


@dataclass(frozen=True)
class Target:
    """A kind of file: a valid one to start from, and what opens and reads all of it.

    mutation: see `mutation.mutate`. companions: further files that lie beside it unchanged.
    """

    file_name: str
    mutation: str
    seed: Callable[[Path], bytes]
    read: Callable[[Path], object]
    companions: Mapping[str, Callable[[Path], bytes]] = field(default_factory=dict)


def read_container(path: Path) -> int:
    """Open a container, touch every value and byte, and show it; returns a checksum."""
    model = open_container(path)
    total = 0
    for value in model.metadata.values():
        if isinstance(value, StringArray):
            total += sum(map(len, value.raws())) + sum(map(len, value.strings()))
        elif isinstance(value, np.ndarray):
            total += len(value.tobytes())
        else:
            total += len(repr(value))
    for name in model.tensors:
        total += int(model.read(name).sum(dtype=np.uint64))
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        inspect(str(path), as_json=False, tensors=True)
        inspect(str(path), as_json=True, tensors=True)
    lines = shown.getvalue().split("\n")
    if not all(line.isprintable() for line in lines):
        raise AssertionError("control characters reached the terminal")
    return total


def _gguf(scratch: Path, extra: dict[str, object] | None = None, prefix: str = "") -> bytes:
    path = scratch / "seed.gguf"
    metadata = {
        "general.architecture": "llama",
        "general.alignment": 32,
        "llama.block_count": 2,
        "llama.rope.freq_base": 10000.0,
        "tokenizer.ggml.tokens": [f"token{i}" for i in range(300)] + ["", "é"],
        "tokenizer.ggml.scores": np.arange(302, dtype=np.float32),
        "flags": [True, False],
        "nested": [[1, 2], [3, 4]],
        **(extra or {}),
    }
    tensors = [
        TensorSpec(f"{prefix}token_embd.weight", "Q8_0", (4, 64)),
        TensorSpec(f"{prefix}blk.0.attn_q.weight", "F32", (3, 5)),
        TensorSpec(f"{prefix}blk.0.ffn_up_exps.weight", "MXFP4", (2, 3, 32)),
        TensorSpec(f"{prefix}output_norm.weight", "BF16", (7,)),
    ]
    sizes = dict(zip((spec.name for spec in tensors), (272, 60, 102, 14), strict=True))
    write_gguf(path, metadata, tensors, lambda name: b"\x5a" * sizes[name])
    return path.read_bytes()


def _part(number: int) -> Callable[[Path], bytes]:
    split = {"split.no": number, "split.count": 2, "split.tensors.count": 8}
    return lambda scratch: _gguf(scratch, split, prefix=f"p{number}.")


def _safetensors(scratch: Path, prefix: str = "") -> bytes:
    path = scratch / "seed.safetensors"
    tensors = [
        TensorSpec(f"{prefix}a.weight", "F32", (4, 3)),
        TensorSpec(f"{prefix}b", "U8", (2, 3, 16)),
        TensorSpec(f"{prefix}c", "BF16", (5,)),
        TensorSpec(f"{prefix}d", "I64", ()),
        TensorSpec(f"{prefix}e", "F4", (2, 8)),
    ]
    sizes = dict(zip((spec.name for spec in tensors), (48, 96, 10, 8, 8), strict=True))
    write_safetensors(path, {"format": "pt"}, tensors, lambda name: b"\x5a" * sizes[name])
    return path.read_bytes()


def _index(scratch: Path) -> bytes:
    names = {f"{part}{name}": f"{part}.safetensors" for part in "xy" for name in _TENSORS}
    return json.dumps({"metadata": {"total_size": 340}, "weight_map": names}).encode()


def _config(scratch: Path) -> bytes:
    sizes = {"num_hidden_layers": 2, "hidden_size": 64, "num_experts": 4, "experts_per_token": 2}
    other = {
        "swiglu_limit": 7.0,
        "model_type": "gpt_oss",
        "quantization_config": {"quant_method": "mxfp4"},
    }
    return json.dumps({**sizes, **other}).encode()


def _gpt_oss_config(scratch: Path) -> bytes:
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_attention_heads": 2, "head_dim": 4}
    more = {"num_key_value_heads": 1, "num_local_experts": 2, "num_experts_per_tok": 1}
    rest = {"sliding_window": 8, "vocab_size": 8, "max_position_embeddings": 64}
    rope = {"rope_theta": 1e4, "rms_norm_eps": 1e-5, "rope_scaling": {"factor": 2.0}}
    stated = {"model_type": "gpt_oss", "num_hidden_layers": 1}
    return json.dumps({**stated, **sizes, **more, **rest, **rope}).encode()


def _gpt_oss_tensors(scratch: Path) -> bytes:
    layer, attention = "model.layers.0.", "model.layers.0.self_attn."
    shapes = {
        "model.embed_tokens.weight": (8, 32),
        "model.norm.weight": (32,),
        "lm_head.weight": (8, 32),
        layer + "input_layernorm.weight": (32,),
        layer + "post_attention_layernorm.weight": (32,),
        layer + "mlp.router.weight": (2, 32),
        layer + "mlp.router.bias": (2,),
        layer + "mlp.experts.gate_up_proj_bias": (2, 64),
        layer + "mlp.experts.down_proj_bias": (2, 32),
        layer + "mlp.experts.gate_up_proj_blocks": (2, 64, 1, 16),
        layer + "mlp.experts.gate_up_proj_scales": (2, 64, 1),
        layer + "mlp.experts.down_proj_blocks": (2, 32, 1, 16),
        layer + "mlp.experts.down_proj_scales": (2, 32, 1),
        attention + "sinks": (2,),
        attention + "o_proj.weight": (32, 8),
        attention + "o_proj.bias": (32,),
    }
    for part, size in (("q", 8), ("k", 4), ("v", 4)):
        shapes[f"{attention}{part}_proj.weight"] = (size, 32)
        shapes[f"{attention}{part}_proj.bias"] = (size,)
    packed = ("_blocks", "_scales")
    specs = [
        TensorSpec(name, "U8" if name.endswith(packed) else "BF16", shape)
        for name, shape in shapes.items()
    ]
    sizes = {s.name: math.prod(s.shape) * (1 if s.format == "U8" else 2) for s in specs}
    path = scratch / "gpt-oss.safetensors"
    write_safetensors(path, {}, specs, lambda name: b"\x3f" * sizes[name])
    return path.read_bytes()


def _gpt_oss_gguf(scratch: Path) -> bytes:
    folder = scratch / "gpt-oss"
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_bytes(_gpt_oss_config(scratch))
    (folder / "tokenizer.json").write_bytes(_tokenizer(scratch))
    (folder / "model.safetensors").write_bytes(_gpt_oss_tensors(scratch))
    return convert(folder, scratch / "gpt-oss.gguf").read_bytes()


def _tokenizer(scratch: Path) -> bytes:
    model = {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]}
    added = [{"id": 3, "content": "<|end|>", "special": True}]
    steps = [{"type": "ByteLevel", "use_regex": True}]
    split = {"type": "Sequence", "pretokenizers": steps}
    return json.dumps({"model": model, "added_tokens": added, "pre_tokenizer": split}).encode()


def convert_away(path: Path) -> Path:
    """Convert a model to another layout and read the result."""
    source = path if path.suffix == ".gguf" else path.parent
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "out" if path.suffix == ".gguf" else "out.gguf")
        weights = convert(source, target)
        read_container(weights)
        return weights


_TENSORS = ("a.weight", "b", "c", "d", "e")

_GPT_OSS_FOLDER = {
    "model.safetensors": _gpt_oss_tensors,
    "config.json": _gpt_oss_config,
    "tokenizer.json": _tokenizer,
}


def _in_folder(file_name: str, mutation: str) -> Target:
    others = {name: make for name, make in _GPT_OSS_FOLDER.items() if name != file_name}
    return Target(file_name, mutation, _GPT_OSS_FOLDER[file_name], convert_away, others)


TARGETS: dict[str, Target] = {
    "convert-config": _in_folder("config.json", "json"),
    "convert-tensors": _in_folder("model.safetensors", "safetensors"),
    "convert-tokenizer": _in_folder("tokenizer.json", "json"),
    "convert-gguf": Target("gpt-oss.gguf", "gguf", _gpt_oss_gguf, convert_away),
    "gguf": Target("model.gguf", "gguf", _gguf, read_container),
    "gguf-part": Target(
        "m-00001-of-00002.gguf",
        "gguf",
        _part(0),
        read_container,
        {"m-00002-of-00002.gguf": _part(1)},
    ),
    "config": Target(
        "config.json",
        "json",
        _config,
        lambda path: read_container(path.parent),
        {"model.safetensors": _safetensors},
    ),
    "safetensors": Target("model.safetensors", "safetensors", _safetensors, read_container),
    "index": Target(
        "model.safetensors.index.json",
        "json",
        _index,
        read_container,
        {
            "x.safetensors": lambda scratch: _safetensors(scratch, "x"),
            "y.safetensors": lambda scratch: _safetensors(scratch, "y"),
        },
    ),
}


def case_bytes(target: str, seed_file: bytes, case: int) -> bytes:
    """The bytes of a numbered case; case 0 is the valid file."""
    if case == 0:
        return seed_file
    return mutate(TARGETS[target].mutation, seed_file, Random(f"{target} {case}"))


class Bench:
    """A scratch folder per target in which cases are written and read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seeds: dict[str, bytes] = {}

    def prepare(self, target: str) -> Path:
        place = self.folder / target
        if target not in self.seeds:
            place.mkdir()
            for name, make in TARGETS[target].companions.items():
                (place / name).write_bytes(make(self.folder))
            self.seeds[target] = TARGETS[target].seed(self.folder)
        return place / TARGETS[target].file_name

    def run(self, target: str, case: int) -> tuple[str, str]:
        """("read" | "refused" | "failed", detail) of one case."""
        path = self.prepare(target)
        path.write_bytes(case_bytes(target, self.seeds[target], case))
        start = time.process_time()
        try:
            TARGETS[target].read(path)
            outcome = ("read", "")
        except IngleError as error:
            message = str(error)
            tidy = message.isprintable() or message.replace("\nhint: ", "").isprintable()
            outcome = ("refused", "") if tidy else ("failed", f"unprintable {message!r}")
        except BaseException:
            outcome = ("failed", traceback.format_exc())
        spent = time.process_time() - start
        if spent > CPU_SECONDS:
            return "failed", f"took {spent:.2f} s of CPU time"
        return outcome


def work() -> None:
    """Worker: reads `target case` lines, answers one JSON line each."""
    # Under scripts/sanitize the sanitizer itself limits memory: its shadow fills address space.
    if "INGLE_SANITIZED" not in os.environ:
        with contextlib.suppress(ImportError):
            import resource

            resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        for line in sys.stdin:
            target, case = line.split()
            outcome, detail = bench.run(target, int(case))
            print(json.dumps([target, int(case), outcome, detail]), flush=True)


class Pool:
    """Worker processes, each fed in turn by its own thread; a stuck worker is replaced."""

    def __init__(self, cases: list[tuple[str, int]]) -> None:
        self.todo = iter(cases)
        self.lock = threading.Lock()
        self.counts: Counter[str] = Counter()
        self.failures: list[tuple[str, int, str]] = []

    def run(self) -> None:
        threads = [threading.Thread(target=self._feed) for _ in range(NUM_WORKERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _next(self) -> tuple[str, int] | None:
        with self.lock:
            return next(self.todo, None)

    def _feed(self) -> None:
        worker = _start_worker()
        while (case := self._next()) is not None:
            outcome, detail = self._ask(worker, *case)
            if outcome == "lost":
                worker.kill()
                worker.communicate()
                worker = _start_worker()
                outcome = "failed"
            with self.lock:
                self.counts[outcome] += 1
                if outcome == "failed":
                    self.failures.append((*case, detail))
        worker.communicate()

    def _ask(self, worker: subprocess.Popen[str], target: str, case: int) -> tuple[str, str]:
        assert worker.stdin and worker.stdout
        watchdog = threading.Timer(STUCK_SECONDS, worker.kill)
        watchdog.start()
        try:
            worker.stdin.write(f"{target} {case}\n")
            worker.stdin.flush()
            answer = worker.stdout.readline()
        except BrokenPipeError:
            answer = ""
        finally:
            watchdog.cancel()
        if not answer:
            return "lost", f"worker died with {worker.wait()}: crashed, or stuck for too long"
        _, _, outcome, detail = json.loads(answer)
        return outcome, detail


def _start_worker() -> subprocess.Popen[str]:
    command = [sys.executable, __file__, "--worker"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def main() -> int:
    """Command line; exit status 1 when a case failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1000, help="cases in all")
    parser.add_argument("--seed", type=int, default=1, help="which range of cases")
    parser.add_argument("--only", choices=sorted(TARGETS), help="one kind of file")
    parser.add_argument("--case", type=int, help="run this one case here, with its traceback")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work()
        return 0
    targets = [options.only] if options.only else list(TARGETS)
    if options.case is not None:
        with tempfile.TemporaryDirectory() as folder:
            bench = Bench(Path(folder))
            print(*bench.run(targets[0], options.case))
        return 0
    first = options.seed * 1_000_000
    cases = [(name, 0) for name in targets]
    cases += [(targets[i % len(targets)], first + i) for i in range(options.count)]
    pool = Pool(cases)
    pool.run()
    for target, case, detail in pool.failures[:20]:
        print(f"FAILED --only {target} --case {case}\n{detail}")
    print(", ".join(f"{count} {outcome}" for outcome, count in sorted(pool.counts.items())))
    return 1 if pool.failures else 0


if __name__ == "__main__":
    sys.exit(main())
