"""Comparisons: textbook numbers out of the same code, and what publishers state."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest

from ingle.errors import IngleError
from ingle.plan.comparison import comparable, compare, facts, mlp_parameters
from ingle.plan.drawing import block_svg
from ingle.plan.sketch import SKETCHES


def test_the_gated_mlp_is_smaller_at_half_the_width() -> None:
    """1024 x 4096 against three matrices of 1024 x 2048."""
    assert mlp_parameters(1024, 4096, gated=False) == 8_388_608
    assert mlp_parameters(1024, 2048, gated=True) == 6_291_456


def test_wide_and_shallow_against_narrow_and_deep() -> None:
    gpt_oss, qwen3 = compare(["gpt-oss:20b", "qwen3:30b-a3b"])
    assert (gpt_oss.hidden_size, qwen3.hidden_size) == (2880, 2048)
    assert (gpt_oss.num_hidden_layers, qwen3.num_hidden_layers) == (24, 48)
    assert (gpt_oss.experts_total, gpt_oss.experts_active) == (32, 4)
    assert (qwen3.experts_total, qwen3.experts_active) == (128, 8)
    assert (gpt_oss.num_attention_heads, gpt_oss.num_key_value_heads) == (64, 8)
    assert facts("gpt-oss:120b").num_hidden_layers == 36


@pytest.mark.parametrize(
    ("name", "total", "active"),
    [  # technical reports and model cards
        ("gemma2:9b", 9.24e9, None),
        ("gemma2:27b", 27.23e9, None),
        ("gemma3:12b", 11.77e9, None),
        ("gemma3:27b", 27.01e9, None),
        ("deepseek-v3", 671e9, 37e9),
    ],
)
def test_sketches_have_the_published_sizes(name: str, total: float, active: float | None) -> None:
    sketch = SKETCHES[name]
    assert sketch.parameters == pytest.approx(total, rel=2e-3)
    if active:  # the report counts the embedding as well
        assert sketch.active_parameters == pytest.approx(active, rel=0.015)


def test_caches_per_token() -> None:
    deepseek = facts("deepseek-v3")
    assert deepseek.kv_bytes_per_token[32_768] == 61 * 576 * 2  # 70 kB, as its report says
    gpt2 = facts("gpt2")
    assert gpt2.kv_bytes == {1024: 1024 * 12 * 2 * 768 * 2}
    gpt_oss = facts("gpt-oss:20b").kv_bytes
    assert gpt_oss[131_072] == 12 * 1024 * 2 * (131_072 + 128)
    gemma = facts("gemma3:27b").kv_bytes
    assert gemma[131_072] == 2 * 16 * 128 * 2 * (10 * 131_072 + 52 * 1024)


def test_flops_of_a_token_are_two_per_active_weight() -> None:
    for name in comparable():
        model = facts(name)
        assert model.matrix_flops == pytest.approx(2 * model.active_parameters, rel=0.003), name


def test_weights_by_format() -> None:
    assert facts("gpt-oss:20b").weights_bytes["BF16"] == pytest.approx(41.8e9, rel=2e-3)
    assert facts("gpt-oss:20b").weights_bytes["MXFP4"] == 12_096_558_336
    for name in comparable():
        sizes = facts(name).weights_bytes
        assert sizes["BF16"] > sizes["Q8_0"] > sizes["Q4_0"] > 0


@pytest.mark.parametrize("name", comparable())
def test_every_block_is_drawn(name: str) -> None:
    model = facts(name)
    svg = ElementTree.fromstring(block_svg(model))
    words = " ".join(svg.itertext())
    assert f"x {model.num_hidden_layers}" in words
    assert model.title in words
    for box in svg.iter("{http://www.w3.org/2000/svg}rect"):
        assert 0 <= float(box.get("y", "")) <= 470 - float(box.get("height", ""))


def test_an_unknown_model_is_told(ingle: Any) -> None:
    with pytest.raises(IngleError, match="known name"):
        facts("gpt-5")
    ended = ingle("compare", "gpt-5", "gpt2")
    assert (ended.code, ended.out) == (2, "")


def test_the_terminal_shows_three_at_a_time(ingle: Any) -> None:
    ended = ingle("compare", "gpt2:xl", "gpt-oss:20b", "qwen3:30b-a3b", "deepseek-v3")
    assert (ended.code, ended.err) == (0, "")
    assert max(map(len, ended.out.splitlines())) <= 80
    assert "GPT-2 XL" in ended.out and "DeepSeek-V3" in ended.out
    assert re.search(r"experts +- +4 of 32 +8 of 128", ended.out)


def test_json_is_one_array(ingle: Any) -> None:
    found = json.loads(ingle("compare", "gpt2", "gpt-oss:120b", "--json").out)
    assert [one["name"] for one in found] == ["gpt2", "gpt-oss:120b"]
    assert found[1]["parameters"] == 116_829_156_672


class _Page(HTMLParser):
    """Counts elements and looks for anything from outside."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, int] = {}
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen[tag] = self.seen.get(tag, 0) + 1
        self.outside += [v or "" for n, v in attrs if n in ("src", "href")]


def test_the_page_stands_alone(ingle: Any) -> None:
    ended = ingle("compare", "gpt2", "gpt-oss:20b", "gemma3:27b", "--html", "out.html")
    assert (ended.code, ended.out) == (0, "out.html\n")
    page = _Page()
    text = (ingle.folder / "out.html").read_text(encoding="utf-8")
    page.feed(text)
    assert page.seen["svg"] == page.seen["figure"] == 3
    assert page.outside == []
    assert "url(" not in text and "@import" not in text


def test_a_folders_name_is_only_text(ingle: Any) -> None:
    ingle("synth", "tiny-llama", "a<b>", "--format", "hf")
    ended = ingle("compare", "a<b>", "gpt2", "--html", "out.html")
    assert ended.code == 0
    text = (ingle.folder / "out.html").read_text(encoding="utf-8")
    assert "<b>" not in text and "a&lt;b&gt;" in text
