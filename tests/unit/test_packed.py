"""Packed files: the same logits, the same GGUF again bit for bit, and nothing hostile gets in."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from ingle.backends import make_backend
from ingle.errors import FileFormatError, IngleError, UnsupportedError
from ingle.formats import GgufFile, open_container
from ingle.formats.convert import convert
from ingle.formats.packed import PackedFile, pack, unpack
from ingle.formats.packed.layout import PAGE_BYTES
from ingle.formats.packed.price import price_of, shown
from ingle.formats.packed.requantized import choices_in
from ingle.formats.synth import synthesize
from ingle.models import load_model
from ingle.numerics import FORMATS, decode
from ingle.ops import Backend
from ingle.runtime import Engine

NAMES = ["tiny-gpt-oss", "tiny-qwen3moe", "tiny-llama", "tiny-gpt2", "tiny-qwen3"]


@pytest.fixture(scope="session")
def gguf(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    name = request.param
    return synthesize(name, tmp_path_factory.mktemp("packed") / f"{name}.gguf", layout="gguf")


def packed_of(gguf: Path) -> Path:
    target = gguf.with_suffix(".packed")
    return target if target.exists() else pack(gguf, target)


def logits(path: Path, backend: Backend) -> np.ndarray:
    model = load_model(open_container(path), backend, 128)
    return Engine(model, backend, 128).logits(list(range(3, 80)))


every_model = pytest.mark.parametrize("gguf", NAMES, indirect=True)
one_model = pytest.mark.parametrize("gguf", NAMES[:1], indirect=True)


@every_model
def test_becomes_its_gguf_again(gguf: Path, tmp_path: Path) -> None:
    again = convert(packed_of(gguf), tmp_path / "again.gguf")
    assert again.read_bytes() == gguf.read_bytes()


@every_model
def test_logits_are_the_same_bits(gguf: Path) -> None:
    packed = packed_of(gguf)
    for make in (lambda: make_backend("cpu", 2), lambda: make_backend("reference")):
        np.testing.assert_array_equal(logits(packed, make()), logits(gguf, make()))


@every_model
def test_tensors_and_metadata_are_those_of_the_gguf(gguf: Path) -> None:
    ours, theirs = open_container(packed_of(gguf)), GgufFile.open(gguf)
    assert isinstance(ours, PackedFile)
    assert list(ours.tensors) == list(theirs.tensors)
    assert ours.metadata["general.architecture"] == theirs.metadata["general.architecture"]
    for name in theirs.tensors:
        np.testing.assert_array_equal(ours.read(name), theirs.read(name))


@one_model
def test_weights_are_mapped_and_lie_on_pages(gguf: Path) -> None:
    packed = open_container(packed_of(gguf))
    assert isinstance(packed, PackedFile)
    backend = make_backend("cpu", 1)
    tiles = packed.tiles("blk.0.ffn_gate_exps.weight")
    assert tiles is not None
    assert tiles.data.base is not None
    assert tiles.data.ctypes.data % PAGE_BYTES == 0
    assert tiles.data.shape[1] % PAGE_BYTES == 0
    handle = backend.tiled("w", packed_format(packed), tiles)  # type: ignore[attr-defined]
    assert np.shares_memory(handle.tiles.data, tiles.data)


def packed_format(packed: PackedFile) -> object:
    from ingle.numerics import FORMATS

    return FORMATS[packed.tensors["blk.0.ffn_gate_exps.weight"].format]


@one_model
def test_an_expert_lies_together(gguf: Path) -> None:
    packed = open_container(packed_of(gguf))
    assert isinstance(packed, PackedFile)
    entry = next(e for e in packed.entries if e.name == "blk.0.experts")
    parts = [piece.tensor.split("ffn_")[1] for piece in entry.pieces]
    kinds = [
        f"{part}_exps.{kind}" for kind in ("weight", "bias") for part in ("gate", "up", "down")
    ]
    assert parts == kinds
    assert entry.num_matrices == packed.tensors["blk.0.ffn_gate_exps.weight"].shape[0]


@one_model
def test_the_safetensors_package_opens_it(gguf: Path) -> None:
    with safe_open(packed_of(gguf), "numpy") as file:
        assert file.metadata()["ingle.packed"] == "1"
        assert "blk.0.experts" in set(file.keys())


@one_model
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ingle.packed", "2"),
        ("header_bytes", "-1"),
        ("header_bytes", "99999999999999"),
        ("header_bytes", "3"),
        ("source_bytes", "x"),
        ("source_bytes", "10"),
    ],
)
def test_wrong_metadata_is_refused(gguf: Path, tmp_path: Path, key: str, value: str) -> None:
    with safe_open(packed_of(gguf), "numpy") as file:
        metadata = dict(file.metadata())
    path = tmp_path / "wrong"
    save_file(load_file(packed_of(gguf)), path, {**metadata, key: value})
    with pytest.raises(IngleError):
        open_container(path)


@one_model
def test_an_entry_of_another_size_is_refused(gguf: Path, tmp_path: Path) -> None:
    tensors = load_file(packed_of(gguf))
    with safe_open(packed_of(gguf), "numpy") as file:
        metadata = dict(file.metadata())
    tensors["blk.0.experts"] = tensors["blk.0.experts"][:, :-PAGE_BYTES].copy()
    save_file(tensors, tmp_path / "wrong", metadata)
    with pytest.raises(FileFormatError, match=r"blk\.0\.experts"):
        open_container(tmp_path / "wrong")


@one_model
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(data=st.data())
def test_mutations_raise_one_line_or_nothing(
    gguf: Path, tmp_path: Path, data: st.DataObject
) -> None:
    content = bytearray(packed_of(gguf).read_bytes())
    header = 8 + int.from_bytes(content[:8], "little")
    place = data.draw(st.integers(0, header + 6000))
    content[place] = data.draw(st.integers(0, 255))
    path = tmp_path / "mutated"
    path.write_bytes(content)
    try:
        container = open_container(path)
        for name in container.tensors:
            container.read(name)
    except IngleError as error:
        assert str(error).count("\n") <= 1


def test_bytes_between_tensors_are_not_lost(tmp_path: Path) -> None:
    gguf = synthesize("tiny-llama", tmp_path / "a.gguf", layout="gguf")
    with gguf.open("ab") as file:
        file.write(b"hidden")
    with pytest.raises(IngleError, match="between tensors"):
        pack(gguf, tmp_path / "b")


def test_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ingle.cli.inspect import inspect
    from ingle.cli.pack import pack as command

    monkeypatch.setenv("INGLE_MODELS", str(tmp_path / "models"))
    gguf = synthesize("tiny-llama", tmp_path / "a.gguf", layout="gguf")
    assert command(str(gguf), str(tmp_path / "b.packed.safetensors")) == 0
    assert Path(capsys.readouterr().out.strip()) == tmp_path / "b.packed.safetensors"
    assert command(str(gguf)) == 0
    path = Path(capsys.readouterr().out.strip())
    assert path.parent == tmp_path / "models" / ".packed"
    assert inspect(str(path), as_json=True, tensors=False) == 0
    assert json.loads(capsys.readouterr().out)["architecture"] == "llama"


@pytest.mark.parametrize(
    ("head", "attention"), [("q4", ""), ("", "q4_1"), ("q8", "q4_0"), ("q6", "q6")]
)
def test_head_and_attention_in_fewer_bits(tmp_path: Path, head: str, attention: str) -> None:
    source = synthesize("tiny-gpt-oss", tmp_path / "a.gguf", layout="gguf")
    path = pack(source, tmp_path / "b", head=head, attention=attention)
    before, after = open_container(source), open_container(path)
    assert isinstance(after, PackedFile)
    wanted = {"q4": "IQ4_NL", "q4_1": "Q4_1", "q8": "Q8_0", "q4_0": "Q4_0", "q6": "Q6_0"}
    for name, info in after.tensors.items():
        chosen = head if name == "output.weight" else ""
        chosen = attention if name.startswith("blk.") and ".attn_" in name else chosen
        matrix = name.endswith(".weight") and len(info.shape) == 2
        if not (chosen and matrix):
            np.testing.assert_array_equal(after.read(name), before.read(name))
            continue
        assert info.format == wanted[chosen]
        old = decode(FORMATS[before.tensors[name].format], before.read(name))
        new = decode(FORMATS[info.format], after.read(name))
        differs = np.abs(new - old).max()
        assert differs < 0.25 * np.abs(old).max()
        assert (differs == 0) == (info.format == before.tensors[name].format)
    said = {"head": wanted.get(head), "attention": wanted.get(attention)}
    assert choices_in(after.metadata) == {part: name for part, name in said.items() if name}
    assert choices_in(before.metadata) == {}
    out = unpack(after, tmp_path / "c.gguf")
    again = open_container(out)
    for name in after.tensors:
        np.testing.assert_array_equal(again.read(name), after.read(name))


@pytest.mark.parametrize("choice", ["q7", "q99", "f32", "mxfp4", "\n"])
def test_formats_without_good_kernels_are_refused(tmp_path: Path, choice: str) -> None:
    source = synthesize("tiny-llama", tmp_path / "a.gguf", layout="gguf")
    with pytest.raises(UnsupportedError) as refused:
        pack(source, tmp_path / "b", head=choice)
    assert refused.value.where == "--head" and not (tmp_path / "b").exists()


def test_prices_are_those_that_were_measured() -> None:
    for choices in ({"head": "IQ4_NL"}, {"attention": "Q4_0"}):
        cost = price_of(choices)
        assert cost is not None and 0 < cost["mean_kld"] < 1 and 0 < cost["same_top_1"] < 1
        assert f"KLD {cost['mean_kld']:.4f}" in shown(choices)
    assert price_of({"head": "IQ4_NL", "attention": "Q4_0"}) is None
    assert shown({"head": "BF16"}) == "head BF16: not measured"
    assert shown({}) == ""
