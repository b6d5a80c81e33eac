"""The real model, end to end: right answers, llama.cpp's distributions, the reference's bits."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ingle import LLM
from ingle.errors import UnsupportedError

GOLDEN = Path(__file__).parent.parent / "golden" / "llama_cpp_logits.npz"


@pytest.fixture(scope="module")
def llm(smollm2_path: Path) -> Iterator[LLM]:
    with LLM(smollm2_path, threads=2, context=2048) as model:
        yield model


def test_knows_the_capital_of_france(llm: LLM) -> None:
    answer = llm.generate("The capital of France is", temperature=0, max_tokens=32)
    assert answer.text.startswith(" Paris.")
    assert answer.usage.prompt_tokens == 5
    assert answer.usage.completion_tokens == len(answer.token_ids) == 32
    assert answer.finish_reason == "length"


def test_chat_uses_the_template_and_stops(llm: LLM) -> None:
    answer = llm.chat("What is the capital of Italy? Answer in one word.", temperature=0)
    assert "Rome" in answer.text
    assert "<|im_end|>" not in answer.text
    assert answer.finish_reason == "stop"


def test_stream_gives_the_same_text(llm: LLM) -> None:
    whole = llm.generate("Once upon a time", temperature=0, max_tokens=24)
    stream = llm.generate("Once upon a time", temperature=0, max_tokens=24, stream=True)
    assert "".join(stream) == whole.text
    assert stream.completion.token_ids == whole.token_ids


def test_a_seed_repeats(llm: LLM) -> None:
    first, second, other = (
        llm.generate("A poem:", temperature=1.0, max_tokens=16, seed=s).token_ids for s in (5, 5, 6)
    )
    assert first == second != other


def test_stop_string_is_cut_off(llm: LLM) -> None:
    plain = llm.generate("The capital of France is", temperature=0, max_tokens=32).text
    word = plain.split()[3]
    answer = llm.generate("The capital of France is", temperature=0, max_tokens=32, stop=word)
    assert answer.text == plain[: plain.index(word)]
    assert answer.finish_reason == "stop"


def test_a_continued_conversation_reuses_its_prefix(llm: LLM, smollm2_path: Path) -> None:
    turns = [{"role": "user", "content": "Name a colour."}]
    first = llm.chat(turns, temperature=0, max_tokens=8)
    turns += [{"role": "assistant", "content": first.text}, {"role": "user", "content": "Another."}]
    warm = llm.chat(turns, temperature=0, max_tokens=8)
    assert warm.usage.cached_tokens > 0
    llm.generate("Something else entirely", temperature=0, max_tokens=1)
    again = llm.chat(turns, temperature=0, max_tokens=8)
    assert again.usage.cached_tokens >= warm.usage.cached_tokens  # others do not drive it out
    with LLM(smollm2_path, threads=2, context=2048) as other:
        cold = other.chat(turns, temperature=0, max_tokens=8)
    assert cold.usage.cached_tokens == 0
    assert cold.token_ids == warm.token_ids == again.token_ids


def test_distributions_of_llama_cpp(llm: LLM) -> None:
    """Top-1 and KL divergence over llama.cpp's 32 most likely tokens and one lump of the rest."""
    golden = np.load(GOLDEN)
    logits = llm.logits(golden["ids"].astype(int).tolist()).astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    logq = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    top = golden["top_ids"].astype(int)
    assert np.mean(logq.argmax(axis=1) == top[:, 0]) >= 0.96
    logp = golden["top_logprobs"].astype(np.float64)
    ours = np.take_along_axis(logq, top, axis=1)
    rest_p = np.clip(1 - np.exp(logp).sum(axis=1), 1e-9, None)
    rest_q = np.clip(1 - np.exp(ours).sum(axis=1), 1e-9, None)
    kld = (np.exp(logp) * (logp - ours)).sum(axis=1) + rest_p * np.log(rest_p / rest_q)
    assert kld.mean() <= 0.003


def test_native_equals_the_emulating_reference(llm: LLM, smollm2_path: Path) -> None:
    ids = np.load(GOLDEN)["ids"][:33].astype(int).tolist()
    reference = LLM(smollm2_path, backend="reference", emulate="q8", context=64)
    np.testing.assert_array_equal(llm.logits(ids), reference.logits(ids))


def test_command_line_prints_one_json_object(smollm2_path: Path) -> None:
    words = ["run", str(smollm2_path), "The capital of France is", "--raw", "--temperature", "0"]
    command = [sys.executable, "-m", "ingle.cli", *words, "--max-tokens", "12", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    said = json.loads(done.stdout)
    assert said["text"].startswith(" Paris.")
    assert (said["prompt_tokens"], said["completion_tokens"]) == (5, 12)
    assert said["timings"]["decode_tokens_per_s"] > 0


def test_a_quantization_is_insisted_on(smollm2_path: Path) -> None:
    with LLM(smollm2_path, threads=2, context=64, quantization="q4_1") as model:
        assert model.generate("One two three", temperature=0, max_tokens=2).text
    with pytest.raises(UnsupportedError, match="must be stored as Q4_K_M"):
        LLM(smollm2_path, threads=2, context=64, quantization="q4_k_m")
