"""What kernels reach: measured through the backend, kept, and priced by hand."""

from __future__ import annotations

import json
import math
import mmap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingle.backends.cpu import CpuBackend
from ingle.formats.packed import pack
from ingle.formats.synth import synthesize
from ingle.numerics import FORMATS
from ingle.plan import residency, speed
from ingle.plan.anatomy import Anatomy, anatomy
from ingle.plan.catalog import KNOWN
from ingle.plan.forecast import outlook
from ingle.plan.hardware import find
from ingle.plan.kernels import (
    ATTENTION,
    EXPERTS,
    WINDOWED,
    Kernel,
    Kernels,
    as_object,
    from_object,
)
from ingle.plan.local import machine_of, this_machine
from ingle.plan.probe import Maker, Probe, _dense, _MlpLayer, measure
from ingle.plan.rates import Rates, add_rates, read_rates
from ingle.plan.residency import (
    cold_bytes,
    process_bytes,
    ranges_of,
    resident_bytes,
    touch_bytes_per_s,
)
from ingle.plan.stretch import stretched
from ingle.plan.subject import open_subject

LINUX = Path("/proc/self/pagemap").exists()
KERNELS = Kernels(
    {
        "Q8_0": Kernel(20e9, 0.5e12, 1e9),
        "F32": Kernel(30e9, 0.1e12, 2e9),
        "MXFP4 experts": Kernel(25e9, 0.4e12, 0.5e9),
        ATTENTION: Kernel(10e9, 0.2e12),
        WINDOWED: Kernel(10e9, 0.1e12),
    },
    layer_s=1e-5,
    step_s=1e-4,
)


def gpt_oss() -> Anatomy:
    return anatomy(open_subject("gpt-oss:20b"))


def test_a_prompt_by_hand() -> None:
    """Each kind of matrix at its own rate, attention at its own, overheads per layer and step."""
    model, machine = gpt_oss(), machine_of(Rates(kernels=KERNELS))
    work = {(m.kernel, m.once): m for m in model.matrices}
    assert set(work) == {
        ("Q8_0", False),
        ("Q8_0", True),
        ("F32", False),
        ("MXFP4 experts", False),
    }
    seconds = 512 * work["Q8_0", False].flops / 0.5e12
    seconds += 512 * work["F32", False].flops / 0.1e12
    seconds += 512 * work["MXFP4 experts", False].flops / 0.4e12
    seconds += work["Q8_0", True].nbytes / 20e9  # one row of logits waits for the matrix
    heads = 4 * 64 * 64 * 12
    full, inside = 512 * 513 // 2, 128 * 129 // 2 + 384 * 128
    seconds += heads * full / 0.2e12 + heads * inside / 0.1e12
    seconds += 24 * 1e-5 + 1e-4
    assert speed.prefill_s(model, machine, 512) == pytest.approx(seconds)
    twice = speed.prefill_s(model, machine, 1024)
    assert twice > 2 * seconds - work["Q8_0", True].nbytes / 20e9


def test_a_token_by_hand() -> None:
    model, machine = gpt_oss(), machine_of(Rates(kernels=KERNELS))
    nbytes = dict.fromkeys(KERNELS.of, 0)
    for matrices in model.matrices:
        share = 4 / 32 if matrices.kernel.endswith(EXPERTS) else 1
        nbytes[matrices.kernel] += round(matrices.nbytes * share)
    seconds = nbytes["Q8_0"] / 20e9 + nbytes["F32"] / 30e9 + nbytes["MXFP4 experts"] / 25e9
    keys = 2 * 8 * 64 * 2 * 12
    seconds += keys * (1000 + 128) / 10e9 + 24 * 1e-5 + 1e-4
    assert speed.decode_s(model, machine, 1000) == pytest.approx(seconds)


def test_loading_copies_what_is_not_mapped() -> None:
    model, machine = gpt_oss(), machine_of(Rates(kernels=KERNELS))
    copied = model.copied_bytes
    assert sum(copied.values()) == pytest.approx(model.file_bytes, rel=0.02)
    seconds = copied["Q8_0"] / 1e9 + copied["F32"] / 2e9 + copied["MXFP4 experts"] / 0.5e9
    header = model.metadata_bytes / machine.header_bytes_per_s
    assert speed.load_s(model, machine, 0) == pytest.approx(seconds + header)
    assert speed.load_s(model, machine_of(Rates()), 3_000_000_000) == pytest.approx(2.0 + header)


def test_loading_maps_what_is_packed(tmp_path: Path) -> None:
    """Header, then page by page; what is in memory already need not come from the disk."""
    source = synthesize("tiny-gpt-oss", tmp_path / "model.gguf")
    packed = open_subject(str(pack(source, tmp_path / "model.packed")))
    here = machine_of(Rates(kernels=KERNELS, header_bytes_per_s=1e6, touch_bytes_per_s=1e7))
    seen = outlook(packed, here)
    model = seen.model
    assert model.mapped_bytes == seen.memory.weights_bytes
    assert packed.file_bytes > packed.metadata_bytes + model.mapped_bytes
    assert model.copied_bytes == {}
    warm = model.metadata_bytes / 1e6 + model.mapped_bytes / 1e7
    assert seen.cold_bytes == 0 and seen.speed.load_s == pytest.approx(warm)
    elsewhere = outlook(packed, find("Core i9-14900K"))
    assert elsewhere.cold_bytes == packed.file_bytes


def test_every_matrix_is_priced_once() -> None:
    for name in KNOWN:
        model = anatomy(open_subject(name))
        assert sum(m.flops for m in model.matrices) == model.layer_flops + model.head_flops
        experts = sum(m.nbytes for m in model.matrices if m.kernel.endswith(EXPERTS))
        assert experts <= model.experts_bytes <= experts * 1.01  # biases besides


def test_a_format_that_was_not_measured() -> None:
    """Experts are as fast as other matrices; what is unknown is as fast as the machine."""
    assert KERNELS.find("Q8_0 experts") == KERNELS.of["Q8_0"]
    assert KERNELS.find("Q4_0") is None
    few = machine_of(Rates(30e9, 1e12, None, Kernels({"Q4_0": Kernel(1e9, 1e9)})))
    assert 0 < speed.decode_s(gpt_oss(), few, 100) < 1


def test_rates_are_measured_through_the_backend() -> None:
    """Small widths: what is measured is small, that it is measured is not."""
    backend = CpuBackend(threads=1)
    found = measure(backend, ["Q8_0", "MXFP4 experts"], 64, 64, 100_000)
    assert set(found.of) == {"Q8_0", "MXFP4 experts", ATTENTION, WINDOWED}
    for kernel in found.of.values():
        assert 1e6 < kernel.read_bytes_per_s < 1e13 and 1e6 < kernel.ops_per_s < 1e15
    assert found.of["Q8_0"].repack_bytes_per_s > 0
    assert 0 <= found.layer_s < 1 and 0 <= found.step_s < 1


@pytest.mark.parametrize("name", ["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_XS", "IQ4_NL"])
def test_formats_that_only_the_quantizer_writes_are_probed(name: str) -> None:
    make = Maker(CpuBackend(threads=1))
    weight = make.matrix(name, 64, 256)
    padding = weight.meta.nbytes - 64 * FORMATS[name].row_bytes(256)
    assert weight.meta.format == name and 0 <= padding < 4 * 64  # of four tiles, to 64 bytes each


def test_int8_is_probed_as_it_runs() -> None:
    make = Maker(CpuBackend(threads=1))
    assert make.matrix("INT8", 64, 256).meta.format == "INT8"
    assert _dense(make.backend, "INT8", 64, 96, 1000).repack_bytes_per_s > 0


def test_rows_of_a_probe_are_whole_blocks() -> None:
    found = _dense(CpuBackend(threads=1), "Q6_K", 64, 300, 1000)
    assert found.flops == 6 * 256 * 512 * found.layers


def test_a_probe_is_a_model_that_computes() -> None:
    make = Maker(CpuBackend(threads=1))
    probe = Probe(make, 64, [_MlpLayer(make, "Q8_0", 64, 64)])
    assert probe.seconds(3, repeats=1) > 0
    assert make.packed_bytes > 3 * 64 * 64


# --- keeping ---


def test_rates_are_kept_beside_others(tmp_path: Path) -> None:
    add_rates(tmp_path, {"memory_read_bytes_per_s": 3e10})
    add_rates(tmp_path, {"kernel_rates": as_object(KERNELS), "runtime_bytes": 7e7})
    rates = read_rates(tmp_path)
    assert (rates.read_bytes_per_s, rates.kernels, rates.runtime_bytes) == (3e10, KERNELS, 7e7)
    machine = this_machine(tmp_path)
    assert (machine.kernels, machine.runtime_bytes) == (KERNELS, 70_000_000)
    assert machine.source == "measured"


def test_the_better_of_two_measurements_counts() -> None:
    one = Kernels({"Q8_0": Kernel(10e9, 2e12)}, 1e-6, 3e-4)
    other = Kernels({"Q8_0": Kernel(30e9, 1e12), "F32": Kernel(1e9, 1e9, 5.0)}, 3e-6, 1e-4)
    best = one.best(other)
    assert best.of == {"Q8_0": Kernel(30e9, 2e12), "F32": Kernel(1e9, 1e9, 5.0)}
    assert (best.layer_s, best.step_s) == (1e-6, 1e-4)
    assert best == other.best(one)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(
    json_values
    | st.fixed_dictionaries(
        {
            "of": st.dictionaries(
                st.sampled_from(["Q8_0", "F32"]),
                json_values
                | st.fixed_dictionaries(
                    {name: st.floats() for name in ("read_bytes_per_s", "ops_per_s")}
                ),
            ),
            "layer_s": st.floats(),
            "step_s": st.floats(),
        }
    )
)
def test_damaged_kernels_are_none_or_whole(found: Any) -> None:
    kernels = from_object(found)
    if kernels is None:
        return
    for kernel in kernels.of.values():
        assert kernel.read_bytes_per_s > 0 and kernel.ops_per_s > 0
        assert all(math.isfinite(rate) for rate in vars(kernel).values())
    assert from_object(json.loads(json.dumps(as_object(kernels)))) == kernels


# --- pages ---


@pytest.mark.skipif(not LINUX, reason="only Linux tells which pages are there")
def test_pages_that_were_touched_are_there() -> None:
    page = mmap.PAGESIZE
    memory = mmap.mmap(-1, 64 * page)
    array = np.frombuffer(memory, np.uint8)
    (whole,) = ranges_of([array])
    before = resident_bytes([whole])
    assert before is not None and before <= 2 * page
    array.base[3 * page : 3 * page + 1] = b"x"
    array.base[10 * page : 12 * page] = bytes(2 * page)
    assert resident_bytes([whole]) == before + 3 * page
    first = whole[0] + 3 * page + 100
    assert resident_bytes([(first, first + 50), (first + 50, first + 60)]) == 60
    assert (process_bytes() or 0) > 10_000_000


@pytest.mark.skipif(not LINUX, reason="only Linux tells which pages are there")
def test_rows_that_lie_apart_are_ranges_of_their_own() -> None:
    table = np.zeros((8, 1000), np.float32)
    assert ranges_of([table]) == [(table.ctypes.data, table.ctypes.data + table.nbytes)]
    first, second = ranges_of([table[1:3, :10]])
    assert first == (table.ctypes.data + 4000, table.ctypes.data + 4040)
    assert second[0] == first[0] + 4000


@pytest.mark.skipif(not LINUX, reason="only Linux tells what is cached")
def test_a_file_just_written_is_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, empty = tmp_path / "data", tmp_path / "empty"
    path.write_bytes(bytes(1_000_001))
    empty.write_bytes(b"")
    assert cold_bytes([path, empty]) == 0
    assert touch_bytes_per_s(path, 2) is None  # too little to time
    monkeypatch.setattr(residency, "SAMPLE_BYTES", 1 << 16)
    assert 1e6 < (touch_bytes_per_s(path, 2) or 0) < 1e15


# --- the page's shortcut ---


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_two_short_models_tell_of_a_tall_one(name: str) -> None:
    for gpu in (False, True):
        assert stretched(KNOWN[name], None, gpu) == anatomy(open_subject(name), gpu)
