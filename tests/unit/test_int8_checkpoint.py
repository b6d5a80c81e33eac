"""INT8 checkpoints: arithmetic, what is written, what is read back and run, what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from ingle.cli.int8 import Wishes
from ingle.cli.int8 import int8 as command
from ingle.errors import FileFormatError, IngleError, UnsupportedError
from ingle.evaluate.subject import Subject
from ingle.formats import SafetensorsFile
from ingle.formats.compressed_tensors import CompressedFile, Int8Config, read_config
from ingle.formats.summary import summarize
from ingle.formats.synth import synthesize
from ingle.numerics import FORMATS, decode
from ingle.numerics.int8_inputs import InputRounding, from_range
from ingle.quantize.int8.calibrate import calibrate
from ingle.quantize.int8.codes import parameters, quantized, rounded
from ingle.quantize.int8.job import write_int8
from ingle.quantize.int8.observer import KEPT_ROWS, Observer
from ingle.quantize.int8.plan import make_plan, scanned
from ingle.quantize.int8.scheme import Scheme

Floats = NDArray[np.float32]
IDS = [int(one) for one in np.random.default_rng(0).integers(0, 200, 24)]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("int8") / "source"
    synthesize("tiny-llama", folder, layout="hf")
    return folder


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("Call me Ishmael. Some years ago, never mind how long precisely. " * 20)
    return str(path)


def drawn(rows: int, columns: int, seed: int) -> Floats:
    return np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32)


def logits(
    path: Path, backend: str = "reference", exact: bool = False, emulate: str | None = None
) -> Floats:
    threads = 2 if backend == "cpu" else None
    options = {"threads": threads, "exact": exact, "emulate": emulate}
    subject = Subject.open(str(path), 32, backend=backend, **options)  # type: ignore[arg-type]
    return np.concatenate([rows for _, rows in subject.scan(IDS, range(len(IDS)))])


# --- arithmetic ---


@given(st.integers(0, 999), st.booleans(), st.sampled_from(["minmax", "percentile", "mse"]))
def test_values_in_range_move_half_a_step_at_most(seed: int, symmetric: bool, how: str) -> None:
    x = drawn(3, 50, seed) + np.float32(seed % 3)
    scale, zero = parameters(x, symmetric, how)
    if symmetric:
        assert (zero == 0).all()
    low, high = (-128 - zero) * scale, (127 - zero) * scale
    inside = (x >= low) & (x <= high)
    moved = np.abs(rounded(x, scale, zero) - x)
    assert (moved[inside] <= np.broadcast_to(scale, x.shape)[inside] * 0.5001).all()
    codes = quantized(x, scale, zero)
    np.testing.assert_array_equal((codes - zero) * scale, rounded(x, scale, zero))


@given(st.integers(0, 999), st.booleans())
def test_least_error_is_no_worse_than_the_whole_range(seed: int, symmetric: bool) -> None:
    x = drawn(4, 64, seed) ** 3
    weights = np.abs(drawn(1, 64, seed + 1))

    def error(how: str) -> NDArray[np.float64]:
        moved = np.square(rounded(x, *parameters(x, symmetric, how, weights)) - x) * weights
        return np.asarray(moved.sum(axis=1, dtype=np.float64))

    assert (error("mse") <= error("minmax") * (1 + 1e-6)).all()


def test_nothing_has_scale_one_and_zero_is_exact() -> None:
    for symmetric in (True, False):
        nothing = np.zeros((2, 1), np.float32)
        scale, _ = from_range(nothing, nothing, symmetric)
        assert (scale == 1).all()
        x = np.array([[0.0, 3.0, 7.0], [0.0, -5.0, -1.0]], np.float32)
        assert (rounded(x, *parameters(x, symmetric, "minmax"))[:, 0] == 0).all()


def test_an_observer_keeps_extremes_and_a_bounded_sample() -> None:
    observer, x = Observer(), drawn(5000, 8, 1)
    for start in range(0, 5000, 170):
        observer.add(x[start : start + 170])
    assert observer.num_rows == 5000 and KEPT_ROWS / 2 <= len(observer.rows) <= KEPT_ROWS
    assert (observer.low, observer.high) == (x.min(), x.max())
    np.testing.assert_allclose(observer.importance[0], (x**2).mean(axis=0), rtol=1e-5)
    gaps = [int(np.flatnonzero((x == row).all(axis=1))[0]) for row in observer.rows]
    assert len(set(np.diff(gaps))) == 1  # even through the text
    scale, zero = observer.parameters(True, "minmax")
    assert zero == 0 and scale == pytest.approx(np.abs(x).max() / 127.5)
    assert observer.parameters(True, "percentile")[0] < scale


# --- files ---


@pytest.mark.parametrize(
    ("group", "symmetric"), [(None, True), (32, True), (None, False), (16, False)]
)
def test_weights_come_back_as_codes_times_scales(
    source: Path, tmp_path: Path, group: int | None, symmetric: bool
) -> None:
    plan = make_plan(source, Scheme(group, symmetric, calibration="mse"), {})
    write_int8(plan, tmp_path / "out")
    stored = SafetensorsFile.open(tmp_path / "out")
    shown = CompressedFile(stored)
    assert set(shown.tensors) == set(plan.source.tensors)
    assert len(shown.int8_names) == len(plan.layers) > 0
    for name, info in shown.tensors.items():
        original = decode(FORMATS[plan.source.tensors[name].format], plan.source.read(name))
        if name not in shown.int8_names:
            assert shown.read(name).tobytes() == plan.source.read(name).tobytes()
            continue
        assert (info.format == "INT8") == (group is None and symmetric)
        found = decode(FORMATS[info.format], shown.read(name))
        assert found.shape == info.shape == original.shape
        codes, scale, zero = plan.codes(name)
        grouped = codes.reshape(*scale.shape, -1).astype(np.float32)
        expected = (grouped - zero[..., None]) * scale[..., None]
        np.testing.assert_array_equal(found, expected.reshape(found.shape))
        assert np.abs(found - original).max() < 0.02 * np.abs(original).max()
        kept = stored.tensors[name.removesuffix("weight") + "weight_scale"]
        assert kept.format == plan.source.tensors[name].format
        assert kept.shape == (info.shape[0], info.shape[1] // (group or info.shape[1]))


def test_it_runs_here_on_both_backends(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_int8(make_plan(source, Scheme(), {}), out)
    plain, ours, native = logits(source), logits(out), logits(out, "cpu", exact=True)
    assert 0 < np.abs(ours - plain).max() < 0.1 * plain.std()
    np.testing.assert_allclose(native, ours, atol=2e-3 * plain.std())
    before, after = (summarize(SafetensorsFile.open(path)) for path in (source, out))
    assert after.problems == () and after.num_parameters == before.num_parameters


def test_inputs_are_rounded_only_where_asked(source: Path, tmp_path: Path) -> None:
    made = {}
    for activations in ("none", "dynamic"):
        out = tmp_path / activations
        write_int8(make_plan(source, Scheme(activations=activations), {}), out)
        made[activations] = logits(out)
    spread = made["none"].std()
    assert 1e-3 < np.abs(made["dynamic"] - made["none"]).max() / spread < 0.3


def test_dynamic_ranges_are_those_of_each_row() -> None:
    x = drawn(6, 40, 2) * np.array([[1], [10], [100], [1], [1], [1]], np.float32)
    for symmetric in (True, False):
        rounding = InputRounding(True, symmetric)
        whole = rounding.apply(x)
        for row in range(6):
            np.testing.assert_array_equal(whole[row : row + 1], rounding.apply(x[row : row + 1]))


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("activations", ["none", "dynamic", "static"])
@pytest.mark.parametrize("group", [None, 32])
def test_native_kernels_give_the_bits_they_promise(
    source: Path, text: str, tmp_path: Path, activations: str, symmetric: bool, group: int | None
) -> None:
    out = tmp_path / "out"
    scheme = Scheme(group, activations=activations, activations_symmetric=symmetric)
    observers = calibrate(str(source), text, 32, 2) if activations == "static" else {}
    plan = make_plan(source, scheme, observers, ignored=("model.layers.0.mlp.up_proj",))
    write_int8(plan, out)
    native, emulated = logits(out, "cpu"), logits(out, "reference", emulate="q8")
    np.testing.assert_array_equal(native, emulated)
    exact = logits(out, "cpu", exact=True)
    if activations != "none":  # flips of codes next to a tie are seen, no more
        assert np.sqrt(np.mean((exact - logits(out)) ** 2)) < 3e-2 * exact.std()


def test_from_text_to_a_folder_with_layers_kept(
    source: Path, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    scheme = Scheme(activations="static", activations_symmetric=False)
    command(str(source), None, scheme, Wishes(text, 32, 3, None, True, True))
    layers = json.loads(capsys.readouterr().out)["layers"]
    quality = [layer["snr_db"] for layer in layers]
    assert quality == sorted(quality) and quality[0] > 10
    limit = (quality[1] + quality[2]) / 2
    command(str(source), str(out), scheme, Wishes(text, 32, 3, limit, False, True))
    kept = {layer["name"].removesuffix(".weight") for layer in layers[:2]}
    config = json.loads((out / "config.json").read_text())["quantization_config"]
    assert kept | {"lm_head"} == set(config["ignore"])
    file = CompressedFile(SafetensorsFile.open(out))
    assert not {f"{name}.weight" for name in kept} & set(file.int8_names)
    for name in file.int8_names:
        fixed = file.input_range(name.removesuffix(".weight"))
        assert fixed is not None and fixed[0] > 0 and -128 <= fixed[1] <= 127
    assert read_config(config, "x") == Int8Config("static", False, None)
    assert (out / "tokenizer.json").read_bytes() == (source / "tokenizer.json").read_bytes()


def test_a_better_layer_measures_better(source: Path, text: str, tmp_path: Path) -> None:
    observers = calibrate(str(source), text, 32, 2)
    coarse, fine = (
        scanned(make_plan(source, Scheme(group), observers), None) for group in (None, 16)
    )
    pairs = list(zip(coarse.layers, fine.layers, strict=True))
    better = [b.snr_db > a.snr_db for a, b in pairs if a.snr_db and b.snr_db]
    assert len(better) == len(pairs) and np.mean(better) > 0.9


# --- what is refused ---


def test_sources_that_cannot_be_rounded(source: Path, tmp_path: Path) -> None:
    gguf = synthesize("tiny-llama", tmp_path / "model.gguf")
    with pytest.raises(UnsupportedError, match="Hugging Face's layout"):
        make_plan(gguf, Scheme(), {})
    write_int8(make_plan(source, Scheme(), {}), tmp_path / "out")
    with pytest.raises(UnsupportedError, match="plain floats"):
        make_plan(tmp_path / "out", Scheme(), {})
    with pytest.raises(IngleError, match="static ranges need text"):
        make_plan(source, Scheme(activations="static"), {})
    with pytest.raises(IngleError, match="must divide"):
        write_int8(make_plan(source, Scheme(group=7), {}), tmp_path / "odd")
    with pytest.raises(IngleError, match="another folder"):
        write_int8(make_plan(source, Scheme(), {}), source)
    for wrong in ({"activations": "some"}, {"calibration": "luck"}, {"group": 0}):
        with pytest.raises(IngleError):
            Scheme(**wrong)  # type: ignore[arg-type]


def test_damaged_checkpoints_are_refused(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_int8(make_plan(source, Scheme(symmetric=False), {}), out)
    name = CompressedFile(SafetensorsFile.open(out)).int8_names[0]
    scale, zero = name + "_scale", name + "_zero_point"
    raw = (out / "model.safetensors").read_bytes()

    def refused(edit: str, match: str) -> None:
        torn = tmp_path / edit
        shutil.copytree(out, torn)
        text = raw.replace(f'"{scale}"'.encode(), f'"{scale[:-5]}xcale"'.encode())
        if edit == "missing":
            (torn / "model.safetensors").write_bytes(text)
        else:
            arrays = load_file(_as_f32(out, tmp_path / f"{edit}.safetensors"))
            if edit == "shape":
                arrays[scale] = arrays[scale][:-1]
            if edit == "nan":
                arrays[scale][0] = np.nan
            if edit == "zero":
                arrays[zero] = arrays[zero].astype(np.int16)
            save_file(arrays, torn / "model.safetensors")
        with pytest.raises(FileFormatError, match=match):
            CompressedFile(SafetensorsFile.open(torn)).read(name)

    refused("missing", "must have a float scale")
    refused("shape", "whole groups")
    refused("nan", "finite")
    refused("zero", "zero points")
    for config, rule in (
        ({"format": "pack-quantized"}, "format must be"),
        ({"format": "int-quantized", "config_groups": {"a": {}}}, "weights must be"),
        (
            {"format": "int-quantized", "config_groups": {"a": {"weights": {"num_bits": 4}}}},
            "8-bit",
        ),
    ):
        with pytest.raises(UnsupportedError, match=rule):
            read_config(config, "config.json")


def _as_f32(folder: Path, target: Path) -> Path:
    """The same checkpoint with every BF16 as F32, which numpy can hold."""
    file = SafetensorsFile.open(folder)
    arrays = {}
    for name, info in file.tensors.items():
        if info.format == "I8":
            arrays[name] = np.array(file.read(name).view(np.int8).reshape(info.shape))
        else:
            arrays[name] = decode(FORMATS[info.format], file.read(name)).reshape(info.shape)
    save_file(arrays, target)
    return target
