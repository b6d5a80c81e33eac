"""The plan of memory: what is published, and what the engine really allocates, by category."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingle import _native
from ingle.backends.cpu import CpuBackend
from ingle.errors import FileFormatError, IngleError, ModelNotFoundError, UnsupportedError
from ingle.formats import open_container
from ingle.formats.packed.job import pack
from ingle.formats.synth import plan as synthetic
from ingle.formats.synth import synthesize
from ingle.models import load_model
from ingle.models.decoder import Decoder
from ingle.numerics import FORMATS
from ingle.ops import Batch, KvLayout
from ingle.ops.count import CountingBackend, count
from ingle.ops.protocol import run_model
from ingle.plan.anatomy import Anatomy, Census, anatomy, kv_bytes
from ingle.plan.catalog import KNOWN
from ingle.plan.kv import CHUNK_TOKENS
from ingle.plan.memory import CATEGORIES, largest_context, most_sequences, plan_memory
from ingle.plan.recipe import Recipe
from ingle.plan.subject import open_subject, payload_bytes
from ingle.plan.tape import TileBackend, idle_bytes
from ingle.quantize.int8.calibrate import calibrate
from ingle.quantize.int8.job import write_int8
from ingle.quantize.int8.plan import make_plan
from ingle.quantize.int8.scheme import Scheme
from ingle.runtime import engine
from ingle.runtime.kv import KvPool, KvSequence

sys.path.insert(0, str(Path(__file__).parent))
from int8_folder import Tensors, edited, made, plain, rounded

TINY_GPT_OSS = Path(__file__).parents[1] / "golden" / "tiny_gpt_oss"
GIB = 1 << 30


def known(name: str, quant: str | None = None, gpu: bool = False) -> Anatomy:
    return anatomy(open_subject(name, quant), gpu)


# --- what is published ---


@pytest.mark.parametrize(
    ("name", "quant", "payload"),
    [  # specifications of the three layouts; a GGUF of 20b is published with 12,109,566,560 bytes
        ("gpt-oss:20b", None, 12_096_558_336),
        ("gpt-oss:20b", "MXFP4+BF16", 13_779_630_336),
        ("gpt-oss:120b", None, 63_374_323_968),
        ("gpt-oss:120b", "MXFP4+BF16", 65_355_994_368),
    ],
)
def test_payloads_of_gguf_files(name: str, quant: str | None, payload: int) -> None:
    assert payload_bytes(open_subject(name, quant)) == payload


def test_file_sizes_to_a_thousandth() -> None:
    assert open_subject("gpt-oss:20b").file_bytes == pytest.approx(12_109_566_560, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "layout", "published"),
    [
        ("gpt-oss:20b", "original", 13_761_300_984),
        ("gpt-oss:20b", "hf", 13_761_264_768),
        ("gpt-oss:120b", "hf", 65_248_815_744),
    ],
)
def test_folders_as_published_to_a_thousandth(name: str, layout: str, published: int) -> None:
    total = 0
    for tensor in synthetic(name, layout=layout).tensors:
        size = 1 if tensor.format == "U8" else FORMATS[tensor.format].block_bytes
        for length in tensor.shape:
            size *= length
        total += size
    assert total == pytest.approx(published, rel=1e-3)


@pytest.mark.parametrize(("name", "gigabytes"), [("gpt-oss:20b", 41.8), ("gpt-oss:120b", 233.7)])
def test_weights_in_bf16(name: str, gigabytes: float) -> None:
    plan = plan_memory(known(name, "BF16", gpu=True), 4096)
    assert plan.weights_bytes / 1e9 == pytest.approx(gigabytes, rel=2e-3)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [  # as the publishers' model cards round them
        ("gpt2", 0.124e9),
        ("gpt2:medium", 0.355e9),
        ("gpt2:large", 0.774e9),
        ("gpt2:xl", 1.558e9),
        ("qwen3:1.7b", 1.72e9),
        ("qwen3:4b", 4.02e9),
        ("qwen3:8b", 8.19e9),
        ("qwen3:14b", 14.77e9),
        ("qwen3:32b", 32.76e9),
        ("qwen3:30b-a3b", 30.53e9),
        ("qwen3:235b-a22b", 235.1e9),
        ("llama3.2:1b", 1.236e9),
        ("llama3.2:3b", 3.213e9),
        ("llama3.1:8b", 8.03e9),
        ("llama3.1:70b", 70.55e9),
        ("smollm2:135m", 0.1345e9),
        ("smollm2:360m", 0.3618e9),
        ("smollm2:1.7b", 1.711e9),
    ],
)
def test_parameters_as_published(name: str, parameters: float) -> None:
    assert known(name).parameters == pytest.approx(parameters, rel=5e-3)


def test_active_parameters_of_the_mixtures() -> None:
    assert known("gpt-oss:20b").active_parameters == 3_608_307_264
    assert known("gpt-oss:120b").active_parameters == 5_132_849_472
    # Qwen counts the embedding too
    for name, published in (("qwen3:30b-a3b", 3.3e9), ("qwen3:235b-a22b", 22e9)):
        model = known(name)
        embedding = 151_936 * (2048 if "30b" in name else 4096)
        assert model.active_parameters + embedding == pytest.approx(published, rel=0.02)


def test_keys_and_values_at_the_longest_context() -> None:
    plan = plan_memory(known("gpt-oss:20b", gpu=True), 131_072)
    assert plan.kv_bytes / 1e9 == pytest.approx(3.2, rel=0.02)
    assert plan.categories["kv_sliding"] < 0.02e9
    every_layer_full = 2 * plan.categories["kv_full"]
    assert every_layer_full / plan.kv_bytes > 1.98  # what estimates blind to windows charge


def test_cards_that_are_said_to_hold_them() -> None:
    assert plan_memory(known("gpt-oss:120b", gpu=True), 8192).total_bytes < 80e9
    assert plan_memory(known("gpt-oss:20b", gpu=True), 8192).total_bytes < 16e9
    assert plan_memory(known("gpt-oss:20b"), 8192).total_bytes < 16e9


def test_gpt_oss_as_ollama_runs_it() -> None:
    """MXFP4 experts, BF16 rest, 8,192 tokens; the embedding table stays off the card."""
    plan = plan_memory(known("gpt-oss:20b", "MXFP4+BF16", gpu=True), 8192)
    on_gpu = plan.total_bytes - plan.categories["embeddings"]
    assert 13e9 < on_gpu < 14e9


@pytest.mark.parametrize("limit", [1_000_000, 13_000_000_000, 14_000_000_000, 16_000_000_000])
def test_one_sequence_more_would_not_fit(limit: int) -> None:
    model = known("gpt-oss:20b")
    most = most_sequences(model, 8192, limit, 1000)
    assert not most or plan_memory(model, 8192, most).total_bytes <= limit
    assert plan_memory(model, 8192, most + 1).total_bytes > limit
    assert most_sequences(model, 8192, 1 << 50) == 64


@pytest.mark.parametrize("quant", ["INT8", "int8", "INT8+Q8_0", "MXFP4+INT8"])
def test_int8_is_no_type_of_a_gguf_file(quant: str) -> None:
    with pytest.raises(UnsupportedError, match="format must be one of") as refused:
        open_subject("gpt-oss:20b", quant)
    assert "INT8," not in str(refused.value)


# --- what the engine allocates ---

CONTEXT = 700


def allocated(model: Decoder, backend: CpuBackend, context: int, mapped: bool) -> dict[str, int]:
    """Bytes by category of a model that has run, as its owners state them."""
    pool = KvPool(KvLayout(model.attention_shapes), context, engine.CHUNK_TOKENS)
    limit = min(context, model.max_position_embeddings)
    batch = Batch.chunk([1] * min(5, limit), 0, pool, KvSequence(pool), [4])
    logits = backend.forward(model, batch)
    tape, layout = backend._tapes[model]
    census = Census()
    run_model(model, census)
    kv = {"kv_full": 0, "kv_sliding": 0}
    for group, keys, values in zip(layout.groups, pool.keys, pool.values, strict=True):
        kv["kv_sliding" if group.window else "kv_full"] += keys.nbytes + values.nbytes
    assert sum(kv.values()) == pool.nbytes
    assert logits.base is not None
    rows = -(-model.vocab_size // 16) * 16 * 4
    return {
        **census.bytes_in_memory(mapped),
        **kv,
        "activations": tape.scratch_bytes + rows,
        "prefix_snapshots": 0,
    }


def check_plan(path: Path, context: int) -> None:
    backend = CpuBackend()
    model = load_model(open_container(path), backend, context)
    planned = plan_memory(anatomy(open_subject(str(path))), context).categories
    assert tuple(planned) == CATEGORIES
    real = allocated(model, backend, context, open_subject(str(path)).mapped)
    assert {name: planned[name] for name in real} == real


@pytest.mark.parametrize("name", ["gpt-oss", "qwen3moe", "qwen3", "llama", "gpt2"])
@pytest.mark.parametrize("context", [64, 256])
def test_the_engine_allocates_what_was_planned(tmp_path: Path, name: str, context: int) -> None:
    check_plan(synthesize(f"tiny-{name}", tmp_path / "model.gguf"), context)


def test_rows_that_layers_fill_do_not_lie_idle(tmp_path: Path) -> None:
    """Of BF16 the head's normalized rows lie where the layers' do; those it chooses are its own."""
    synthesize("tiny-llama", tmp_path / "model", layout="hf")
    container = open_subject(str(tmp_path / "model")).container
    model = load_model(container, TileBackend(), 64)
    rows, width = 128, model.config.hidden_size
    spans = _native.span_bytes(model.config.num_attention_heads, model.config.head_dim)
    slot_bytes = rows * width * 4
    own = slot_bytes * (rows - 1) // rows + spans
    assert own <= idle_bytes(model, rows) < own + 1024 < own + slot_bytes


@pytest.mark.parametrize("activations", ["none", "dynamic", "static"])
def test_an_int8_folder_is_planned_as_it_runs(tmp_path: Path, activations: str) -> None:
    """Weights of 8 bits beside an embedding of 32, and room for rounded rows."""
    source, text = tmp_path / "source", tmp_path / "text.txt"
    synthesize("tiny-llama", source, layout="hf")
    text.write_text("Call me Ishmael. Some years ago, never mind how long precisely. " * 20)
    scheme = Scheme(activations=activations)
    observers = calibrate(str(source), str(text), 32, 2) if activations == "static" else {}
    write_int8(make_plan(source, scheme, observers), tmp_path / "int8")
    path = edited(
        tmp_path / "int8", tmp_path / "out", lambda t: plain(t, "model.embed_tokens.weight")
    )
    check_plan(path, 64)
    model = anatomy(open_subject(str(path)))
    assert {"INT8", "F32"} <= {matrices.kernel for matrices in model.matrices}
    assert model.scratch_bytes > 0 and payload_bytes(open_subject(str(path))) > 0


@pytest.mark.parametrize(
    ("name", "parts"),
    [("tiny-qwen3moe", (".experts.", "q_proj")), ("tiny-gpt2", ("c_proj", "wte"))],
)
def test_int8_of_other_models_is_planned_too(
    tmp_path: Path, name: str, parts: tuple[str, ...]
) -> None:
    """A stack of experts, and turned weights, are floats."""
    synthesize(name, tmp_path / "source", layout="hf")

    def change(tensors: Tensors) -> None:
        for one in [n for n in tensors if any(part in n for part in parts)]:
            if one.endswith(".weight"):
                rounded(tensors, one)

    said = {"quantization_config": Scheme().config([])}
    check_plan(edited(tmp_path / "source", tmp_path / "out", change, said), 64)


def test_an_int8_folder_that_lies_is_not_planned(tmp_path: Path) -> None:
    said = {"hidden_size": 4096}
    folder = made("tiny-llama", tmp_path, Scheme())
    path = edited(folder, tmp_path / "out", lambda t: None, said)
    with pytest.raises(FileFormatError):
        anatomy(open_subject(str(path)))


@pytest.mark.parametrize("layout", ["hf", "original", "llama_cpp.gguf"])
def test_every_layout_of_gpt_oss_is_planned(layout: str) -> None:
    check_plan(TINY_GPT_OSS / layout, CONTEXT)


@pytest.mark.parametrize("name", ["tiny-qwen3moe", "tiny-llama", "tiny-gpt2"])
def test_hugging_face_folders_are_planned(tmp_path: Path, name: str) -> None:
    check_plan(synthesize(name, tmp_path / "model", layout="hf").parent, 128)


def test_packed_files_are_planned(tmp_path: Path) -> None:
    source = synthesize("tiny-gpt-oss", tmp_path / "model.gguf")
    check_plan(pack(source, tmp_path / "model.packed"), 200)


def test_the_default_model_is_planned(smollm2_path: Path) -> None:
    check_plan(smollm2_path, CONTEXT)


def test_chunks_are_those_of_the_engine() -> None:
    assert engine.CHUNK_TOKENS == CHUNK_TOKENS


# --- the same numbers as counting gives ---


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_reads_and_work_are_those_counted(name: str) -> None:
    subject = open_subject(name)
    model = anatomy(subject, gpu=True)
    counted = load_model(subject.container, CountingBackend(), 64)
    for start, batch in ((0, 1), (100, 3), (777, 40)):
        cost = count(counted, 1, start, batch, model.kv_value_bytes)
        assert cost.matrix_flops == batch * (model.layer_flops + model.head_flops)
        assert cost.attention_flops == batch * sum(
            a.flops_per_pair * (min(start + 1, a.window) if a.window else start + 1)
            for a in model.attention
        )
        experts = 0
        if model.num_local_experts:
            touched = min(model.num_local_experts, batch * model.num_experts_per_tok)
            experts = model.experts_bytes // model.num_local_experts * touched
        tables = batch * model.embedding_row_bytes
        positions = 4 * batch * getattr(counted.config, "hidden_size", 0) if "gpt2" in name else 0
        assert cost.weights_read_bytes == model.dense_read_bytes + experts + tables + positions


@given(st.integers(1, 5000), st.integers(0, 600))
def test_kv_grows_with_context(context: int, more: int) -> None:
    for attention in known("gpt-oss:20b").attention:
        before, after = (kv_bytes(attention, n, 4) for n in (context, context + more))
        assert before <= after
        exact = attention.layers * attention.token_values * 4 * context
        if not attention.window:
            assert exact <= before < exact + 64 * attention.layers * attention.token_values * 4


def test_the_largest_context_fits_and_twice_it_does_not() -> None:
    model = known("gpt-oss:20b")
    largest = largest_context(model, 14 * GIB)
    assert plan_memory(model, largest).total_bytes <= 14 * GIB
    assert plan_memory(model, 2 * largest).total_bytes > 14 * GIB
    assert largest_context(model, 8 * GIB) == 0
    assert largest_context(model, 64 * GIB) == 131_072


# --- mistakes ---


@pytest.mark.parametrize(
    ("text", "experts", "expected"),
    [
        ("q8_0", False, "Q8_0"),
        ("MXFP4", True, "MXFP4+Q8_0"),
        ("MXFP4", False, "MXFP4"),
        ("mxfp4+bf16", True, "MXFP4+BF16"),
        ("Q4_0", True, "Q4_0"),
    ],
)
def test_recipes(text: str, experts: bool, expected: str) -> None:
    assert str(Recipe.parse(text, experts)) == expected


@pytest.mark.parametrize("text", ["", "Q9", "MXFP4+", "+Q8_0", "Q8_0+MXFP4"])
def test_recipes_that_are_refused(text: str) -> None:
    with pytest.raises(UnsupportedError, match="--quant"):
        Recipe.parse(text, has_experts=False)


def test_what_cannot_be_planned_is_said() -> None:
    with pytest.raises(ModelNotFoundError, match="gpt-oss:20b"):
        open_subject("gpt-oss:21b")
    with pytest.raises(IngleError, match="multiple of 256"):
        open_subject("gpt-oss:20b", "Q4_K")
    with pytest.raises(UnsupportedError, match="planned as it is"):
        open_subject(str(TINY_GPT_OSS / "hf"), "Q8_0")
    with pytest.raises(IngleError, match="131072"):
        plan_memory(known("gpt-oss:20b"), 131_073)
    with pytest.raises(IngleError, match="--batch"):
        plan_memory(known("gpt-oss:20b"), 1024, 0)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF" + bytes(40))
    with pytest.raises((FileFormatError, UnsupportedError)):
        open_subject(str(path))


def test_a_configuration_of_another_size_allocates_nothing(tmp_path: Path) -> None:
    folder = synthesize("tiny-gpt-oss", tmp_path / "model", layout="hf").parent
    path = folder / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"num_local_experts": 4096, "intermediate_size": 1 << 20}))
    with pytest.raises(FileFormatError, match="another model's"):
        open_subject(str(folder))


@given(
    st.sampled_from(["num_hidden_layers", "hidden_size", "head_dim", "vocab_size", "layer_types"]),
    st.one_of(st.none(), st.integers(-5, 1 << 40), st.text(max_size=5), st.floats(), st.booleans()),
)
def test_any_configuration_is_planned_or_refused(key: str, value: object) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "hf"
        shutil.copytree(TINY_GPT_OSS / "hf", folder)
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
        try:
            plan_memory(anatomy(open_subject(str(folder))), 64)
        except IngleError as error:
            assert str(error).startswith("[")
