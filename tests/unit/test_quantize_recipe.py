"""Recipes: llama.cpp's choices line by line, overrides in order, nothing substituted silently."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingle.errors import FileFormatError, IngleError, UnsupportedError
from ingle.quantize.budget import size_bytes
from ingle.quantize.mixture import MIXTURES, Rules, fitting, mixture_name
from ingle.quantize.recipe import Override, Recipe, Subject, assign, read_recipe

GOLDEN = Path(__file__).parents[1] / "golden" / "mixture_gptoss.jsonl.gz"
LINES = [json.loads(line) for line in gzip.decompress(GOLDEN.read_bytes()).splitlines()]


@pytest.mark.parametrize("line", LINES, ids=lambda line: f"{line['ft']}-{line['L']}-{line['imx']}")
def test_mixtures_are_llama_cpps(line: dict[str, Any]) -> None:
    experts = {24: 32, 36: 128}[line["L"]]
    rules = Rules(line["ft"], line["L"], 8, experts, True, bool(line["imx"]))

    def chosen(name: str, columns: int) -> str:
        return fitting(rules.choose(name, columns), columns).upper()

    assert chosen("token_embd.weight", 2880) == line["embd"].upper()
    assert chosen("output.weight", 2880) == line["output"].upper()
    for role in (key for key, value in line.items() if isinstance(value, list)):
        columns = 4096 if role == "attn_output" else 2880
        found = [chosen(f"blk.{n}.{role}.weight", columns) for n in range(line["L"])]
        assert found == [name.upper() for name in line[role]], role


def subject(columns: int = 512, **formats: str) -> Subject:
    names = ("token_embd", "blk.0.attn_q", "blk.0.ffn_down", "blk.1.attn_q", "blk.1.ffn_down")
    tensors = {
        f"{name}.weight": (formats.get(name.rpartition(".")[2], "F16"), (64, columns))
        for name in names
    }
    tensors["blk.0.attn_norm.weight"] = ("F32", (columns,))
    tensors["blk.0.ffn_gate_inp.weight"] = ("F32", (8, columns))
    return Subject(tensors, 3, 0)


def types(recipe: Recipe, of: Subject) -> dict[str, str]:
    return {a.name.removesuffix(".weight"): a.target for a in assign(recipe, of, False)}


def test_pure_leaves_norms_and_routers() -> None:
    found = types(Recipe("Q4_0", pure=True), subject())
    assert found.pop("blk.0.attn_norm") == found.pop("blk.0.ffn_gate_inp") == "F32"
    assert set(found.values()) == {"Q4_0"}


def test_the_first_override_that_matches_counts() -> None:
    overrides = (Override.parse(r"blk\.0.*=Q8_0"), Override.parse("ffn_down=Q6_K"))
    found = types(Recipe("Q4_0", pure=True, overrides=overrides), subject())
    assert found["blk.0.ffn_down"] == "Q8_0"
    assert found["blk.1.ffn_down"] == "Q6_K"
    assert found["blk.1.attn_q"] == "Q4_0"


def test_a_misfit_is_said_or_refused() -> None:
    assignments = assign(Recipe("Q4_K_M", pure=True), subject(2880), False)
    down = next(a for a in assignments if a.name == "blk.0.ffn_down.weight")
    assert down.target == "Q5_0"
    assert down.why == "Q4_K -> Q5_0: 2880 columns are no multiple of 256"
    with pytest.raises(IngleError, match="whole blocks, but 2880 columns"):
        assign(Recipe("Q4_K_M", pure=True, strict=True), subject(2880), False)


def test_mxfp4_is_kept_unless_named() -> None:
    of = subject(ffn_down="MXFP4")
    kept = {a.name: a for a in assign(Recipe("Q8_0"), of, False)}["blk.0.ffn_down.weight"]
    assert kept.target == "MXFP4" and kept.is_copied and kept.why.startswith("kept")
    again = Recipe("Q8_0", keep_mxfp4=False)
    assert types(again, of)["blk.0.ffn_down"] == "Q8_0"
    named = Recipe("Q8_0", overrides=(Override.parse("down=Q5_1"),))
    assert types(named, of)["blk.1.ffn_down"] == "Q5_1"


def test_a_type_that_only_the_rules_know_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="IQ3_M wants IQ3_S"):
        assign(Recipe("IQ3_M"), subject(), False)


@pytest.mark.parametrize("text", ["Q4_0", "=Q4_0", "a=", "a=Q9", "(=Q4_0"])
def test_overrides_that_are_none(text: str) -> None:
    with pytest.raises(IngleError):
        Override.parse(text)


def test_names_of_mixtures() -> None:
    assert mixture_name("q4_k") == "Q4_K_M"
    assert all(mixture_name(name.lower()) == name for name in MIXTURES)
    with pytest.raises(IngleError, match="must be one of"):
        mixture_name("NEO")


def test_recipe_files(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(
        'type = "q4_k"\noutput = "BF16"\nstrict = true\n'
        '[[tensor]]\nmatch = "attn_v"\ntype = "q8_0"\n'
    )
    recipe = read_recipe(path)
    assert (recipe.mixture, recipe.output_type, recipe.strict) == ("Q4_K_M", "BF16", True)
    assert recipe.overrides[0].pattern.search("blk.1.attn_v.weight")
    assert recipe.overrides[0].type == "Q8_0"


@pytest.mark.parametrize(
    "text",
    [
        "type = 3",
        'typo = "Q8_0"',
        "tensor = [1]",
        '[[tensor]]\nmatch = "a"',
        '[[tensor]]\nmatch = "("\ntype = "Q8_0"',
        "= =",
        'output = "Q9"',
    ],
)
def test_damaged_recipe_files(tmp_path: Path, text: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(IngleError):
        read_recipe(path)


@given(data=st.binary(max_size=200))
def test_any_bytes_are_a_recipe_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.mktemp("recipe") / "recipe.toml"
    path.write_bytes(data)
    try:
        read_recipe(path)
    except (FileFormatError, IngleError) as error:
        assert str(error).startswith("[")


def test_sizes() -> None:
    assert size_bytes("11GiB") == 11 << 30
    assert size_bytes("11.5 GB") == 11_500_000_000
    assert size_bytes("900m") == 900_000_000
    assert size_bytes("123") == 123
    for text in ("", "GB", "-1", "1.2.3", "0", "9" * 40):
        with pytest.raises(IngleError):
            size_bytes(text)
