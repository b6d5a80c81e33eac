"""INT8 checkpoints that say what is not built, or what no checkpoint can mean: one clear line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ingle.errors import FileFormatError, UnsupportedError
from ingle.formats import SafetensorsFile
from ingle.formats.compressed_tensors import CompressedFile, Int8Config, read_config
from ingle.quantize.int8.scheme import Scheme

sys.path.insert(0, str(Path(__file__).parent))
from int8_folder import Stored, edited, floats, made, stored

NAME = "model.layers.0.mlp.down_proj.weight"
SCALE, ZERO = NAME.replace("weight", "input_scale"), NAME.replace("weight", "input_zero_point")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made("tiny-llama", tmp_path_factory.mktemp("int8"), Scheme())


# --- config.json ---


def said(inputs: dict[str, Any], **group: Any) -> dict[str, Any]:
    scheme = Scheme(activations="dynamic").config([])
    found = scheme["config_groups"]["group_0"]
    kept = {key: value for key, value in found["input_activations"].items() if key not in inputs}
    given = {key: value for key, value in inputs.items() if value != "left out"}
    scheme["config_groups"]["group_0"] = {**found, "input_activations": {**kept, **given}, **group}
    return scheme


@pytest.mark.parametrize(
    ("dynamic", "strategy", "activations"),
    [
        (True, "token", "dynamic"),
        (False, "tensor", "static"),
        ("left out", "left out", "static"),
    ],
)
def test_ranges_that_are_built(dynamic: object, strategy: str, activations: str) -> None:
    config = said({"dynamic": dynamic, "strategy": strategy})
    assert read_config(config, "x") == Int8Config(activations, True, None)


@pytest.mark.parametrize(
    "inputs",
    [
        {"strategy": "tensor"},
        {"strategy": "group", "group_size": 32},
        {"strategy": "left out"},
        {"dynamic": "local"},
        {"dynamic": 1},
        {"dynamic": False},
        {"dynamic": False, "strategy": "channel"},
        {"dynamic": False, "strategy": "left out", "group_size": 32},
        {"strategy": ["token"]},
    ],
)
def test_other_ranges_are_refused(inputs: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedError, match="by token, or with dynamic false by tensor, but"):
        read_config(said(inputs), "x")


def test_rounded_outputs_are_refused() -> None:
    config = said({}, output_activations={"num_bits": 8, "type": "int"})
    with pytest.raises(UnsupportedError, match="outputs must stay floats"):
        read_config(config, "x")


# --- fixed ranges of inputs ---


def opened(folder: Path, target: Path, **parts: Stored) -> CompressedFile:
    """With other tensors of one layer's inputs."""
    given = {{"scale": SCALE, "zero": ZERO}[part]: value for part, value in parts.items()}
    path = edited(folder, target, lambda tensors: tensors.update({SCALE: floats(0.25), **given}))
    return CompressedFile(SafetensorsFile.open(path), Int8Config("static", False, None))


@pytest.mark.parametrize(
    "scale", [stored("F32", np.float32(0.5), ()), stored("F16", np.array([0.5], np.float16))]
)
def test_one_number_is_a_range(folder: Path, tmp_path: Path, scale: Stored) -> None:
    zero = stored("I8", np.array([[-5]], np.int8))
    file = opened(folder, tmp_path / "out", scale=scale, zero=zero)
    rounding = file.rounding(NAME)
    assert rounding is not None and (rounding.scale, rounding.zero_point) == (0.5, -5)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("zero", floats(-5)),
        ("zero", stored("I32", np.array([300], np.int32))),
        ("zero", stored("U8", np.array([200], np.uint8))),
        ("zero", stored("I8", np.zeros(0, np.int8))),
        ("zero", stored("I8", np.zeros(2, np.int8))),
        ("scale", floats()),
        ("scale", floats(0.25, 0.5)),
        ("scale", stored("I8", np.ones(1, np.int8))),
        ("scale", stored("I32", np.ones(1, np.int32))),
        ("scale", stored("F64", np.ones(1))),
    ],
)
def test_what_is_no_one_number_is_refused(
    folder: Path, tmp_path: Path, part: str, value: Stored
) -> None:
    file = opened(folder, tmp_path / "out", **{part: value})
    with pytest.raises(FileFormatError, match="must be one number in"):
        file.rounding(NAME)


@pytest.mark.parametrize("scale", [0.0, -1.0, 2e38, 3.4e38])
def test_ranges_beyond_numbers_are_refused(folder: Path, tmp_path: Path, scale: float) -> None:
    file = opened(folder, tmp_path / "out", scale=floats(scale))
    with pytest.raises(FileFormatError, match=r"a scale above 0 and up to 1\.701e"):
        file.rounding(NAME)
