"""What is said of the two models in public, out of the plan's own arithmetic; -s prints it all."""

from __future__ import annotations

import pytest

from ingle.formats.synth import plan as synthetic
from ingle.numerics import FORMATS
from ingle.plan.anatomy import Anatomy, anatomy
from ingle.plan.memory import plan_memory
from ingle.plan.subject import open_subject, payload_bytes

GB = 1e9


def known(name: str, quant: str | None = None) -> Anatomy:
    return anatomy(open_subject(name, quant), gpu=True)


def tell(what: str, ours: float, said: float, unit: str = "GB") -> None:
    print(f"{what:<58}{ours:>10,.3f} {unit:<3} said {said:>9,.3f}  {ours / said - 1:+8.3%}")


def folder_gb(name: str, layout: str) -> float:
    total = 0
    for tensor in synthetic(name, layout=layout).tensors:
        size = 1 if tensor.format == "U8" else FORMATS[tensor.format].block_bytes
        for length in tensor.shape:
            size *= length
        total += size
    return total / GB


@pytest.mark.parametrize(
    ("name", "layout", "published"),
    [
        ("gpt-oss:20b", "original", 13.761300984),
        ("gpt-oss:20b", "hf", 13.761264768),
        ("gpt-oss:120b", "original", 65.248815744),
        ("gpt-oss:120b", "hf", 65.248815744),
    ],
)
def test_folders(name: str, layout: str, published: float) -> None:
    ours = folder_gb(name, layout)
    tell(f"{name}, tensors of the {layout} folder", ours, published)
    assert ours == pytest.approx(published, rel=1e-3)


def test_gguf_file() -> None:
    ours = open_subject("gpt-oss:20b").file_bytes / GB
    tell("gpt-oss:20b, published GGUF file (MXFP4, rest Q8_0)", ours, 12.109566560)
    assert ours == pytest.approx(12.109566560, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "quant", "specified"),
    [
        ("gpt-oss:20b", "MXFP4+BF16", 13_779_630_336),
        ("gpt-oss:120b", "MXFP4+Q8_0", 63_374_323_968),
        ("gpt-oss:120b", "MXFP4+BF16", 65_355_994_368),
    ],
)
def test_gguf_tensors(name: str, quant: str, specified: int) -> None:
    """Of files that are split, or published in other precisions: the tensors' bytes."""
    ours = payload_bytes(open_subject(name, quant))
    tell(f"{name}, tensors of a GGUF in {quant}", ours / GB, specified / GB)
    assert ours == specified


@pytest.mark.parametrize(("name", "said"), [("gpt-oss:20b", 41.8), ("gpt-oss:120b", 233.7)])
def test_weights_in_bf16(name: str, said: float) -> None:
    ours = plan_memory(known(name, "BF16"), 4096).weights_bytes / GB
    tell(f"{name}, weights in BF16", ours, said)
    assert ours == pytest.approx(said, rel=2e-3)


def test_where_48_and_240_come_from() -> None:
    """240 is the name's 120 billion at 2 bytes. 48 is what 20.9 billion at 2 bytes become with 15%
    for keys, values and buffers, as calculators add: whoever said it did not say how."""
    small, large = (known(name) for name in ("gpt-oss:20b", "gpt-oss:120b"))
    by_name = 120 * 2.0
    tell("gpt-oss:120b, 120 billion (its name) x 2 bytes", by_name, 240.0)
    assert by_name / (2 * large.parameters / GB) == pytest.approx(1.027, rel=1e-3)
    padded = 1.15 * 2 * small.parameters / GB
    tell("gpt-oss:20b, 20.9 billion x 2 bytes + 15%", padded, 48.0)
    assert padded == pytest.approx(48, rel=0.01)


def test_as_ollama_runs_it() -> None:
    """8,192 tokens; the table of embeddings stays off the card."""
    plan = plan_memory(known("gpt-oss:20b", "MXFP4+BF16"), 8192)
    ours = (plan.total_bytes - plan.categories["embeddings"]) / GB
    tell("gpt-oss:20b on a card as Ollama runs it, 13 to 14 GB", ours, 13.5)
    assert 13 < ours < 14


def test_keys_and_values_at_the_longest_context() -> None:
    ours = plan_memory(known("gpt-oss:20b"), 131_072).kv_bytes / GB
    tell("gpt-oss:20b, keys and values of 131,072 tokens", ours, 3.2)
    assert ours == pytest.approx(3.2, rel=0.02)


@pytest.mark.parametrize(
    ("name", "room"), [("gpt-oss:120b", 80.0), ("gpt-oss:20b", 16.0)], ids=["120b", "20b"]
)
def test_cards_that_hold_them(name: str, room: float) -> None:
    ours = plan_memory(known(name), 8192).total_bytes / GB
    tell(f"{name} with 8,192 tokens, inside one card of {room:.0f} GB", ours, room)
    assert ours < room
