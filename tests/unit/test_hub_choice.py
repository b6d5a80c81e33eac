"""Which files of a repository make up a model, and how repositories are written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingle.errors import IngleError, ModelNotFoundError, UnsupportedError
from ingle.hub.choice import PREFERRED, choose, quant_of
from ingle.hub.reference import Reference, parse


@pytest.mark.parametrize(
    ("text", "repo", "wish"),
    [
        ("a/b", "a/b", ""),
        ("a/b:Q4_K_M", "a/b", "Q4_K_M"),
        ("a/b:latest", "a/b", ""),
        ("hf.co/a/b:Q8_0", "a/b", "Q8_0"),
        ("huggingface.co/a/b", "a/b", ""),
        ("https://huggingface.co/a/b", "a/b", ""),
        ("https://huggingface.co/a/b/", "a/b", ""),
        ("https://huggingface.co/a/b/tree/main", "a/b", ""),
        ("https://hf.co/a/b/resolve/main/Q8_0/c-00001-of-00002.gguf?download=true", "a/b",
         "Q8_0/c-00001-of-00002.gguf"),
        ("hf:a/b:x/y.gguf", "a/b", "x/y.gguf"),
        ("hf://a/b", "a/b", ""),
    ],
)  # fmt: skip
def test_references(text: str, repo: str, wish: str) -> None:
    assert parse(text) == Reference(repo, wish)


@pytest.mark.parametrize(
    "text", ["", "a", "a/b/c", "/a/b", "a/b:", "a /b", "../b", "a/..", "a--b/c", "a/b:../c", "a:b"]
)
def test_what_is_no_reference(text: str) -> None:
    assert parse(text) is None


@given(st.text(max_size=40), st.sampled_from(["", "hf:", "hf.co/", "https://huggingface.co/"]))
def test_no_text_breaks_the_parser(text: str, prefix: str) -> None:
    found = parse(prefix + text)
    assert found is None or (".." not in found.repo and found.repo.count("/") == 1)


@pytest.mark.parametrize(
    ("name", "quant"),
    [
        ("gpt-oss-20b-mxfp4.gguf", "MXFP4"),
        ("gpt-oss-120b-mxfp4-00001-of-00003.gguf", "MXFP4"),
        ("Qwen3-8B-Q4_K_M.gguf", "Q4_K_M"),
        ("Qwen3-30B-A3B-UD-Q2_K_XL.gguf", "UD-Q2_K_XL"),
        ("model.IQ4_XS.gguf", "IQ4_XS"),
        ("BF16/model-00001-of-00002.gguf", "BF16"),
        ("q8-distilled-q4_0.gguf", "Q4_0"),
        ("plain.gguf", "plain"),
        ("SmolLM2-135M-Instruct-f16.gguf", "F16"),
    ],
)
def test_quants_are_read_from_names(name: str, quant: str) -> None:
    assert quant_of(name) == quant


def sizes(*names: str) -> dict[str, int]:
    return {name: 10 * (index + 1) for index, name in enumerate(names)}


def test_the_rule_takes_the_first_preferred_that_is_there() -> None:
    everything = [f"m-{quant}.gguf" for quant in reversed(PREFERRED)]
    assert choose(sizes(*everything), "", "x").label == "MXFP4"
    assert choose(sizes("m-Q8_0.gguf", "m-Q4_K_M.gguf"), "", "x").entry == "m-Q4_K_M.gguf"


def test_without_a_preferred_one_the_smallest_is_taken() -> None:
    assert choose(sizes("m-Q3_K_S.gguf", "m-Q2_K.gguf"), "", "x").label == "Q3_K_S"


def test_projectors_and_matrices_are_no_models() -> None:
    files = sizes("mmproj-F16.gguf", "m-imatrix.gguf", "imatrix_unsloth.gguf", "m-Q6_K.gguf")
    assert choose(files, "", "x").entry == "m-Q6_K.gguf"


def test_parts_belong_together() -> None:
    files = sizes(*(f"m-Q8_0-0000{i}-of-00002.gguf" for i in (2, 1)))
    assert choose(files, "q8_0", "x").files == tuple(sorted(files))
    assert choose(files, "m-Q8_0-00002-of-00002.gguf", "x").entry == min(files)


def test_a_split_model_without_a_part_is_none() -> None:
    with pytest.raises(UnsupportedError):
        choose(sizes("m-Q8_0-00001-of-00002.gguf"), "", "x")


def test_gguf_comes_before_safetensors_unless_wished() -> None:
    files = sizes("model.safetensors", "config.json", "m-Q6_K.gguf", "original/model.safetensors")
    assert choose(files, "", "x").label == "Q6_K"
    assert choose(files, "safetensors", "x").files == ("config.json", "model.safetensors")


@given(
    st.dictionaries(st.text(max_size=30), st.integers(0, 10**12), max_size=8), st.text(max_size=9)
)
def test_any_listing_gives_files_of_it_or_a_mistake(files: dict[str, int], wish: str) -> None:
    names = {f"{name}.gguf": size for name, size in files.items()} | files
    try:
        chosen = choose(names, wish, "x")
    except IngleError as error:
        assert isinstance(error, ModelNotFoundError | UnsupportedError)
        return
    assert set(chosen.files) <= set(names)
    assert chosen.entry in (*chosen.files, "")
