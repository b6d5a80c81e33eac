"""`ingle plan` as a person runs it."""

from __future__ import annotations

import json
from typing import Any

import pytest

KEYS = {
    "categories",
    "total_bytes",
    "fits",
    "decode_tokens_per_s",
    "prefill_tokens_per_s",
    "load_s",
}


def test_json_has_what_scripts_need(ingle: Any) -> None:
    ended = ingle("plan", "gpt-oss:20b", "--json", "--context", "8192", "--gpu", "RTX 4090")
    assert (ended.code, ended.err) == (0, "")
    plan = json.loads(ended.out)
    assert plan.keys() >= KEYS
    assert plan["total_bytes"] == sum(plan["categories"].values())
    assert plan["fits"] is True
    assert {one["machine"] for one in plan["sufficient"]} >= {"RTX 4090", "H100"}


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--table",),
        ("--gpu", "H100", "--batch", "32"),
        ("--memory", "8GiB"),
        ("--vram", "16GiB", "--table"),
    ],
)
@pytest.mark.parametrize("model", ["gpt-oss:120b", "qwen3:235b-a22b", "gpt2", "smollm2-135m"])
def test_pages_are_80_columns_wide(ingle: Any, model: str, options: tuple[str, ...]) -> None:
    ended = ingle("plan", model, *options)
    assert (ended.code, ended.err) == (0, "")
    assert max(map(len, ended.out.splitlines())) <= 80
    assert len(ended.out.splitlines()) > 3


def test_a_page_says_what_matters(ingle: Any) -> None:
    page = ingle("plan", "gpt-oss:20b", "--memory", "8GiB").out
    assert "does not fit" in page
    assert "nothing of it fits" in page
    assert "experts" in page and "limited by memory bandwidth" in page
    page = ingle("plan", "gpt-oss:20b", "--gpu", "RTX 4080").out
    assert "fits" in page and "up to 131,072 tokens" in page


def test_a_file_is_planned_as_it_is(ingle: Any) -> None:
    ingle("synth", "tiny-gpt-oss", "model.gguf")
    ended = ingle("plan", "model.gguf", "--json", "--context", "128")
    plan = json.loads(ended.out)
    assert plan["file_bytes"] == (ingle.folder / "model.gguf").stat().st_size
    assert plan["quantization"] == "as stored"
    assert ingle("plan", "model.gguf").code == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("gpt-oss:7b",), "[model] a model must be a known name"),
        (("gpt-oss:20b", "--quant", "Q9"), "[--quant] format must be one of"),
        (("gpt-oss:20b", "--quant", "Q4_K"), "multiple of 256"),
        (("gpt-oss:20b", "--context", "0"), "[--context]"),
        (("gpt-oss:20b", "--batch", "0"), "[--batch]"),
        (("gpt-oss:20b", "--memory", "lots"), "[--memory]"),
        (("gpt-oss:20b", "--gpu", "abacus"), "[--gpu]"),
        (("gpt-oss:20b", "--gpu", "H100", "--vram", "8GiB"), "--gpu and --vram"),
    ],
)
def test_mistakes_end_in_code_2(ingle: Any, options: tuple[str, ...], words: str) -> None:
    ended = ingle("plan", *options)
    assert (ended.code, ended.out) == (2, "")
    assert words in ended.err
    assert "Traceback" not in ended.err


def test_a_check_compares_and_corrects(ingle: Any) -> None:
    ingle("synth", "tiny-gpt-oss", "model.gguf")
    home = {"INGLE_HOME": str(ingle.folder / "home")}
    ended = ingle("plan", "model.gguf", "--check", "--context", "256", "--json", **home)
    assert (ended.code, ended.err) == (0, "")
    rows = {row["name"]: row for row in json.loads(ended.out)}
    for name in ("attention", "mlp", "experts_resident", "embeddings", "kv_full", "kv_sliding"):
        assert rows[name]["planned"] == rows[name]["measured"] > 0
    assert rows["answer"]["measured"] > 0 and rows["prompt"]["measured"] > 0
    assert (ingle.folder / "home" / "corrections.json").is_file()
    page = ingle("plan", "model.gguf", "--check", "--context", "64", **home)
    assert page.code == 0 and max(map(len, page.out.splitlines())) <= 80


@pytest.mark.parametrize("options", [("gpt-oss:20b",), ("model.gguf", "--gpu", "H100")])
def test_only_a_file_on_this_machine_can_be_checked(ingle: Any, options: tuple[str, ...]) -> None:
    ingle("synth", "tiny-llama", "model.gguf")
    ended = ingle("plan", *options, "--check")
    assert (ended.code, ended.out) == (2, "")
    assert "[--check]" in ended.err
