"""Folders of INT8 checkpoints as other programs could have written them: any tensor, any type."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingle.evaluate.subject import Subject
from ingle.formats import SafetensorsFile
from ingle.formats.synth import synthesize
from ingle.models.decoder import Decoder
from ingle.numerics import FORMATS, decode
from ingle.quantize.int8.job import write_int8
from ingle.quantize.int8.plan import make_plan
from ingle.quantize.int8.scheme import Scheme

Stored = tuple[str, tuple[int, ...], bytes]  # type, shape, bytes
Tensors = dict[str, Stored]
IDS = [int(one) for one in np.random.default_rng(0).integers(0, 200, 24)]


def stored(fmt: str, values: NDArray[Any], shape: tuple[int, ...] | None = None) -> Stored:
    """Numbers of a type, as the bytes of `values`."""
    return fmt, values.shape if shape is None else shape, values.tobytes()


def floats(*values: float) -> Stored:
    """A vector of F32."""
    return stored("F32", np.array(values, np.float32))


def rounded(tensors: Tensors, name: str) -> None:
    """A weight becomes 8-bit codes with a scale per row."""
    fmt, shape, raw = tensors[name]
    weight = decode(FORMATS[fmt], np.frombuffer(raw, np.uint8).reshape(shape[0], -1))
    scale = np.abs(weight).max(axis=1, keepdims=True) / np.float32(127)
    codes = np.rint(weight / np.where(scale == 0, np.float32(1), scale)).astype(np.int8)
    tensors[name] = stored("I8", codes, shape)
    tensors[name + "_scale"] = stored("F32", scale.astype(np.float32))


def with_zero_points(tensors: Tensors, name: str) -> None:
    """Zero points of 0 beside a rounded weight, so that it is decoded to floats."""
    rows = tensors[name][1][0]
    tensors[f"{name}_zero_point"] = stored("I8", np.zeros((rows, 1), np.int8))


def plain(tensors: Tensors, name: str) -> None:
    """A weight becomes F32, whose inputs nobody rounds; codes by some scale."""
    fmt, shape, raw = tensors[name]
    if tensors.pop(name + "_scale", None) is not None:
        codes = np.frombuffer(raw, np.int8).reshape(shape).astype(np.float32)
        tensors[name] = stored("F32", codes * np.float32(0.01))
        return
    values = decode(FORMATS[fmt], np.frombuffer(raw, np.uint8).reshape(shape[0], -1))
    tensors[name] = stored("F32", values.astype(np.float32), shape)


def edited(
    source: Path,
    target: Path,
    change: Callable[[Tensors], object],
    config: dict[str, Any] | None = None,
) -> Path:
    """A copy of a folder with other tensors, and other entries of config.json."""
    shutil.copytree(source, target)
    file = SafetensorsFile.open(source)
    tensors: Tensors = {
        name: (info.format, info.shape, np.ascontiguousarray(file.read(name)).tobytes())
        for name, info in file.tensors.items()
    }
    change(tensors)
    header, end = {}, 0
    for name, (fmt, shape, raw) in tensors.items():
        span = [end, end + len(raw)]
        header[name] = {"dtype": fmt, "shape": list(shape), "data_offsets": span}
        end = span[1]
    text = json.dumps(header).encode()
    for old in target.glob("*.safetensors*"):
        old.unlink()
    data = b"".join(raw for _, _, raw in tensors.values())
    (target / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)
    said = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps({**said, **(config or {})}))
    return target


def made(model: str, folder: Path, scheme: Scheme) -> Path:
    """A synthetic model as an INT8 folder, where no calibration is needed."""
    plain = folder / "plain"
    synthesize(model, plain, layout="hf")
    write_int8(make_plan(plain, scheme, {}), folder / "int8")
    return folder / "int8"


def logits(
    path: Path,
    *,
    native: bool,
    exact: bool = False,
    change: Callable[[Decoder], None] | None = None,
) -> NDArray[np.float32]:
    """Of IDS: by the native kernels, or as the reference emulates them (exact: in plain floats).
    change: of the loaded model."""
    subject = Subject.open(
        str(path),
        32,
        backend="cpu" if native else "reference",
        threads=2 if native else None,
        exact=exact and native,
        emulate=None if native or exact else "q8",
    )
    if change is not None:
        change(subject.model)
    return np.concatenate([rows.copy() for _, rows in subject.scan(IDS, range(len(IDS)))])
