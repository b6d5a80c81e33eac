"""The Python API over a tiny gpt-oss: folders, options, streams, log-probabilities, experts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from ingle import LLM
from ingle.errors import FileFormatError, IngleError
from ingle.llm import Stream
from ingle.llm.source import Source

TINY = Path(__file__).parent.parent / "golden" / "tiny_gpt_oss"
TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"


def write_tokenizer(folder: Path) -> None:
    """A tokenizer.json of the 256 bytes, `tokenizers`' own work, and an end token."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(letters)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken("<|return|>", special=True)])
    made.save(str(folder / "tokenizer.json"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny-gpt-oss"
    shutil.copytree(TINY / "hf", path)
    write_tokenizer(path)
    (path / "tokenizer_config.json").write_text(
        json.dumps({"eos_token": "<|return|>", "chat_template": TEMPLATE})
    )
    return path


@pytest.fixture(scope="module")
def llm(folder: Path) -> Iterator[LLM]:
    with LLM(folder, threads=1, context=128) as model:
        yield model


GREEDY: dict[str, Any] = {"temperature": 0, "max_tokens": 8}


def test_a_folder_opens_with_its_tokenizer_and_template(llm: LLM) -> None:
    assert llm.generate("Hello", **GREEDY).usage.prompt_tokens == 5
    chatted = llm.chat("Hello", **GREEDY)
    assert chatted.usage.prompt_tokens == len("user: Hello\n")
    assert chatted.token_ids == llm.generate("user: Hello\n", **GREEDY).token_ids


def test_a_stream_gives_the_same_text_in_pieces(llm: LLM) -> None:
    whole = llm.generate("Hello", **GREEDY)
    stream = llm.generate("Hello", stream=True, **GREEDY)
    assert isinstance(stream, Stream)
    with pytest.raises(IngleError, match="after the last piece"):
        _ = stream.completion
    assert "".join(stream) == whole.text == stream.completion.text
    assert stream.completion.token_ids == whole.token_ids
    assert (whole.finish_reason, whole.usage.completion_tokens) == ("length", 8)


def test_a_cancelled_stream_keeps_what_was_said(llm: LLM) -> None:
    stream = llm.generate("Hello", stream=True, logprobs=0, temperature=0)
    first = next(stream)
    stream.cancel()
    assert list(stream) == []
    said = stream.completion
    assert (said.text, said.finish_reason) == (first, "cancelled")
    assert said.logprobs is not None and len(said.logprobs) == len(said.token_ids)


def test_a_stream_may_be_cancelled_while_a_piece_is_made(
    llm: LLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = llm.generate("Hello", stream=True, temperature=0, logit_bias={68: 100})
    forward = llm.engine.backend.forward

    def cancelling(*args: Any) -> Any:
        stream.cancel()
        return forward(*args)

    first = next(stream)
    monkeypatch.setattr(llm.engine.backend, "forward", cancelling)
    assert list(stream) == []
    said = stream.completion
    assert said.finish_reason == "cancelled"
    assert said.text.startswith(first)  # and the token that was being made
    assert len(said.token_ids) == said.usage.completion_tokens == 2


def test_a_closed_model_says_so(folder: Path) -> None:
    llm = LLM(folder, threads=1)
    llm.close()
    with pytest.raises(IngleError, match="closed"):
        llm.generate("Hello")


def test_log_probabilities_have_texts(llm: LLM) -> None:
    said = llm.generate("Hello", logprobs=3, **GREEDY)
    assert said.logprobs is not None
    assert [one.token_id for one in said.logprobs] == list(said.token_ids)
    ids = [*llm.tokenizer.encode("Hello"), *said.token_ids]
    logits = llm.logits(ids)[4:-1].astype(np.float64)
    logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
    for row, one in zip(logits, said.logprobs, strict=True):
        assert one.logprob == pytest.approx(row[one.token_id], abs=1e-6)
        assert [other.token_id for other in one.top] == np.argsort(-row)[:3].tolist()
        assert one.top[0] == type(one)(one.token_id, one.text, one.logprob)
    assert llm.generate("Hello", **GREEDY).logprobs is None


def test_a_seed_repeats_on_any_number_of_threads(llm: LLM, folder: Path) -> None:
    options: dict[str, Any] = {"temperature": 1.5, "seed": 7, "max_tokens": 16, "min_p": 0.01}
    expected = llm.generate("Hello", **options).token_ids
    with LLM(folder, threads=2, context=128) as two:
        assert two.generate("Hello", **options).token_ids == expected


def test_a_bias_writes_what_it_is_told(llm: LLM) -> None:
    (letter,) = llm.tokenizer.encode("z")
    said = llm.generate("Hello", logit_bias={letter: 100}, **GREEDY)
    assert said.text == "z" * 8


def test_rows_of_the_model_that_are_no_token_have_no_text(llm: LLM) -> None:
    assert llm.tokenizer.vocab_size < 300 < llm.engine.model.vocab_size
    said = llm.generate("Hello", logit_bias={300: 100}, logprobs=0, **GREEDY)
    assert (said.text, said.token_ids) == ("", (300,) * 8)
    assert said.logprobs is not None and {one.text for one in said.logprobs} == {""}


def test_stop_strings_and_stop_ids_end_the_answer(llm: LLM) -> None:
    (letter,) = llm.tokenizer.encode("z")
    bias = {letter: 100}
    by_text = llm.generate("Hello", logit_bias=bias, stop=["zzz", "y"], **GREEDY)
    assert (by_text.text, by_text.finish_reason) == ("", "stop")
    by_id = llm.generate("Hello", logit_bias=bias, stop_ids=[letter], **GREEDY)
    assert (by_id.text, by_id.finish_reason, by_id.token_ids) == ("", "stop", ())


def test_experts_may_be_fewer_by_request_or_at_load(llm: LLM, folder: Path) -> None:
    usual = llm.generate("Hello", **GREEDY).token_ids
    fewer = llm.generate("Hello", num_experts_per_tok=1, **GREEDY).token_ids
    assert fewer != usual
    with LLM(folder, threads=1, context=128, num_experts_per_tok=1) as model:
        assert model.generate("Hello", **GREEDY).token_ids == fewer
    with pytest.raises(IngleError, match="num_experts_per_tok"):
        llm.generate("Hello", num_experts_per_tok=1000)


def test_exact_computes_what_the_float_reference_does(folder: Path) -> None:
    ids = list(range(40))
    found = []
    for settings in ({"exact": True}, {"backend": "reference"}):
        with LLM(folder, threads=1, context=64, **settings) as model:  # type: ignore[arg-type]
            found.append(model.logits(ids))
    np.testing.assert_allclose(found[0], found[1], atol=1e-3 * found[1].std())


def test_an_unknown_option_is_told_in_one_line(llm: LLM) -> None:
    with pytest.raises(IngleError, match=r"but got temprature\.\nhint: did you mean temperature"):
        llm.generate("Hello", temprature=1)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": "hot"},
        {"top_k": 2.5},
        {"max_tokens": 0},
        {"seed": -1},
        {"logprobs": 21},
        {"logit_bias": {320: 1}},
        {"logit_bias": "a"},
        {"preset": "wild"},
        {"preset": 3},
        {"stop": 5},
        {"stop": [5]},
        {"stop_ids": 5},
        {"stop_ids": ["a"]},
        {"num_experts_per_tok": 0},
    ],
)
def test_values_that_cannot_be_meant_are_told(llm: LLM, wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(IngleError, match=rf"^\[{name}\] "):
        llm.generate("Hello", **wrong)


def test_a_prompt_is_text(llm: LLM) -> None:
    with pytest.raises(IngleError, match=r"^\[prompt\] "):
        llm.generate(b"Hello")  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({"emulate": "q8"}, "emulate"),
        ({"backend": "reference", "emulate": "q8", "exact": True}, "exact"),
        ({"num_experts_per_tok": 1000}, "num_experts_per_tok"),
        ({"num_experts_per_tok": "2"}, "num_experts_per_tok"),
        ({"threads": "2"}, "threads"),
        ({"context": 0}, "context"),
        ({"backend": "gpu"}, "backend"),
        ({"quantization": "q8_0"}, "quantization"),
        ({"quantization": 8}, "quantization"),
        ({"load_in_8bit": True}, "load_in_8bit"),
        ({"load_in_4bit": True, "load_in_8bit": True}, "quantization"),
        ({"memory": "1 MB"}, "memory"),
        ({"memory": "little"}, "memory"),
        ({"memory": 2.5}, "memory"),
        ({"memory": "8GiB", "backend": "reference"}, "memory"),
        ({"memory": "8GiB", "max_memory": {"cpu": "8GiB"}}, "memory"),
        ({"max_memory": {"cpu": 1_000_000}}, "max_memory"),
        ({"max_memory": {0: "8GiB", "cpu": "8GiB"}}, "max_memory"),
        ({"max_memory": "8GiB"}, "max_memory"),
        ({"device_map": "cuda"}, "device_map"),
        ({"device_map": {"": 0}}, "device_map"),
        ({"tensor_parallel_size": 2}, "tensor_parallel_size"),
        ({"dtype": "bfloat16"}, "dtype"),
        ({"trust_remote_code": True}, "trust_remote_code"),
        ({"gpu_memory_utilization": 0.9}, "gpu_memory_utilization"),
        ({"max_model_len": 0}, "context"),
        ({"context": 64, "n_ctx": 64}, "n_ctx"),
        ({"tensor_paralel_size": 1}, "LLM"),
    ],
)
def test_settings_that_cannot_be_meant_are_told(
    folder: Path, settings: dict[str, Any], where: str
) -> None:
    with pytest.raises(IngleError, match=rf"^\[{where}\] "):
        LLM(folder, **settings)


@pytest.mark.parametrize("limit", [{"memory": "1GiB"}, {"max_memory": {0: 0, "cpu": 1 << 30}}])
def test_a_model_that_fits_a_limit_of_memory_opens(folder: Path, limit: dict[str, Any]) -> None:
    with LLM(folder, context=32, **limit) as model:
        assert model.context_tokens == 32


def test_a_model_that_does_not_fit_is_refused_with_the_figures(folder: Path) -> None:
    figures = (
        r"the model needs 0\.\d\d GiB with a context of [\d,]+ tokens, but got a limit of 0\.00"
    )
    with pytest.raises(IngleError, match=figures):
        LLM(folder, memory="1 MB")


def test_a_prompt_too_long_is_told_how_long_one_may_be(folder: Path) -> None:
    with LLM(folder, context=16) as model:
        most = model.engine.model.max_position_embeddings
        with pytest.raises(IngleError, match=f"larger context, up to {most}$"):
            model.generate("one two three " * 8)
        with pytest.raises(IngleError, match=f"the model takes {most} tokens at most$"):
            model.generate("one two three " * most)


def test_settings_of_other_tools_are_understood(folder: Path) -> None:
    settings: dict[str, Any] = {
        "max_model_len": 32,
        "n_threads": 1,
        "load_in_8bit": False,
        "load_in_4bit": True,  # the tiny model's experts are MXFP4
        "dtype": "auto",
        "device_map": {"": "cpu"},
        "device": "cpu",
        "n_gpu_layers": 0,
        "tensor_parallel_size": 1,
        "trust_remote_code": False,
        "low_cpu_mem_usage": True,
        "attn_implementation": None,
    }
    with LLM(folder, **settings) as model:
        assert model.engine.context_tokens == 32
        assert model.generate("Hello", max_new_tokens=2, temperature=0).usage.completion_tokens == 2  # type: ignore[call-overload]


def test_a_quantization_that_the_file_has_is_no_wish_refused(folder: Path) -> None:
    with LLM(folder, threads=1, context=32, quantization="mxfp4") as model:
        assert model.generate("Hello", **GREEDY).text is not None


def with_template(folder: Path, path: Path, template: str) -> Path:
    shutil.copytree(folder, path)
    (path / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))
    return path


def test_reasoning_reaches_a_template_that_takes_it(folder: Path, tmp_path: Path) -> None:
    template = "{{ reasoning_effort }}:{{ extra }}:{{ messages[0].content }}<think>\n"
    path = with_template(folder, tmp_path / "model", template)
    with LLM(path, threads=1, context=64) as model:
        asked = model.chat(
            "Hi",
            stream=True,
            reasoning="high",
            chat_template_kwargs={"extra": "x"},
            max_tokens=1,
        )
        assert asked.opens_in_reasoning
        assert asked.whole().usage.prompt_tokens == len("high:x:Hi<think>")
        for wrong in ({"reasoning": "off"}, {"reasoning": "huge"}):
            with pytest.raises(IngleError, match=r"^\[reasoning\] "):
                model.chat("Hi", **wrong)  # type: ignore[arg-type]
        for others in ({"unheard": 1}, {"messages": []}, [1]):
            with pytest.raises(IngleError, match=r"^\[chat_template_kwargs\] "):
                model.chat("Hi", chat_template_kwargs=others)  # type: ignore[arg-type]


def test_reasoning_is_refused_where_the_template_takes_none(llm: LLM) -> None:
    with pytest.raises(IngleError, match="this model has no setting for reasoning"):
        llm.chat("Hi", reasoning="low")


def bare(path: Path, **config: Any) -> Path:
    """A folder of one tensor and a config.json."""
    path.mkdir(exist_ok=True)
    save_file({"a": np.zeros(1, np.float32)}, str(path / "model.safetensors"))
    (path / "config.json").write_text(json.dumps(config))
    return path


def test_openais_own_layout_needs_no_tokenizer(tmp_path: Path) -> None:
    facts = {"num_experts": 32, "experts_per_token": 4, "swiglu_limit": 7.0}
    source = Source(bare(tmp_path / "original", vocab_size=201_088, **facts))
    assert source.tokenizer().vocab_size == 201_088
    assert source.chat_template() is None
    assert source.recommended == {"temperature": 1.0, "top_p": 1.0, "top_k": 0}
    with pytest.raises(FileFormatError, match=r"tokenizer\.json must lie beside"):
        Source(TINY / "original").tokenizer()


@pytest.mark.parametrize(
    ("file", "content", "expected"),
    [
        ("chat_template.jinja", "A", "A"),
        ("tokenizer_config.json", '{"chat_template": "B"}', "B"),
        (
            "tokenizer_config.json",
            '{"chat_template": [{"name": "tool_use", "template": "C"},'
            ' {"name": "default", "template": "D"}]}',
            "D",
        ),
        ("tokenizer_config.json", '{"chat_template": 5}', None),
        ("tokenizer_config.json", '{"chat_template": [5]}', None),
        ("tokenizer_config.json", "{}", None),
        ("other.json", "{}", None),
    ],
)
def test_chat_templates_of_folders(
    tmp_path: Path, file: str, content: str, expected: str | None
) -> None:
    (bare(tmp_path, model_type="llama") / file).write_text(content)
    assert Source(tmp_path).chat_template() == expected


def test_a_template_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (bare(tmp_path) / "chat_template.jinja").write_bytes(b"\xff")
    with pytest.raises(FileFormatError, match="UTF-8"):
        Source(tmp_path).chat_template()


def test_a_chat_needs_a_template(tmp_path: Path, folder: Path) -> None:
    shutil.copytree(folder, tmp_path / "model")
    (tmp_path / "model" / "tokenizer_config.json").unlink()
    with (
        LLM(tmp_path / "model", threads=1, context=64) as model,
        pytest.raises(IngleError, match="chat template"),
    ):
        model.chat("Hello")
