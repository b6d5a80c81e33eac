"""Whole quantizations of a tiny gpt-oss: read back by the `gguf` package, resumed, refused."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
import pytest

from ingle.cli.quantize import Wishes, quantize_model
from ingle.errors import IngleError
from ingle.formats import GgufFile, SafetensorsFile
from ingle.formats import journal as journals
from ingle.quantize.budget import fit
from ingle.quantize.folder import for_folder, quantize_folder
from ingle.quantize.gptq import GptqRounding
from ingle.quantize.hessian import HEAD, LayerStream
from ingle.quantize.imatrix import Entry, Imatrix
from ingle.quantize.job import plan, quantize
from ingle.quantize.recipe import Override, Recipe

TINY = Path(__file__).parents[1] / "golden" / "tiny_gpt_oss"
SOURCE = TINY / "llama_cpp.gguf"
WINDOWS = [[(7 * n + 13 * i) % 96 for i in range(64)] for n in range(6)]


def values(path: Path) -> dict[str, np.ndarray]:
    return {
        t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors
    }


def test_the_gguf_package_reads_what_was_planned(tmp_path: Path) -> None:
    planned = plan(SOURCE, Recipe("Q4_0"))
    path = quantize(planned, tmp_path / "out.gguf", threads=2)
    before, reader = values(SOURCE), gguf.GGUFReader(path)
    assert [t.tensor_type.name for t in reader.tensors] == [a.target for a in planned.assignments]
    for tensor in reader.tensors:
        now = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        if tensor.tensor_type.name in ("MXFP4", "F32"):
            assert np.array_equal(now, before[tensor.name])
        else:
            wrong = np.square(now - before[tensor.name]).mean()
            assert wrong < 0.02 * np.square(before[tensor.name]).mean()
    assert int(reader.fields["general.file_type"].contents()) == 2
    assert path.stat().st_size >= planned.nbytes


def test_mxfp4_blocks_are_copied_byte_for_byte(tmp_path: Path) -> None:
    path = quantize(plan(SOURCE, Recipe("Q8_0")), tmp_path / "out.gguf")
    ours, theirs = GgufFile.open(path), GgufFile.open(SOURCE)
    copied = [name for name, info in theirs.tensors.items() if info.format == "MXFP4"]
    assert copied
    for name in copied:
        assert np.array_equal(ours.read(name), theirs.read(name))


def test_a_folder_gives_the_same_file_as_its_gguf(tmp_path: Path) -> None:
    recipe = Recipe("Q8_0", keep_mxfp4=False)
    folder = quantize(plan(TINY / "hf", recipe), tmp_path / "hf.gguf")
    file = quantize(plan(SOURCE, recipe), tmp_path / "gguf.gguf")
    ours, theirs = values(folder), values(file)
    assert ours.keys() == theirs.keys()
    for name, wanted in theirs.items():
        assert np.array_equal(ours[name], wanted), name


@pytest.mark.parametrize("method", ["ggml", "search"])
def test_an_interrupted_job_resumes_to_the_same_bytes(
    tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "SYNC_BYTES", 1)
    planned = plan(SOURCE, Recipe("Q5_1", keep_mxfp4=False), None, method)
    whole = quantize(planned, tmp_path / "whole.gguf").read_bytes()

    def stop(done_bytes: int, total_bytes: int) -> None:
        if done_bytes > total_bytes // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quantize(planned, tmp_path / "out.gguf", progress=stop)
    assert not (tmp_path / "out.gguf").exists()
    resumed: list[int] = []
    quantize(planned, tmp_path / "out.gguf", progress=lambda done, total: resumed.append(done))
    assert (tmp_path / "out.gguf").read_bytes() == whole
    assert min(resumed) > len(whole) // 2
    assert {path.name for path in tmp_path.iterdir()} == {"out.gguf", "whole.gguf"}


def rounding() -> GptqRounding:
    return GptqRounding(LayerStream(GgufFile.open(SOURCE), WINDOWS), tied=False)


def test_gptq_resumes_to_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journals, "SYNC_BYTES", 1)
    planned = plan(SOURCE, Recipe("Q4_0", keep_mxfp4=False), None, "gptq")
    whole = quantize(planned, tmp_path / "whole.gguf", rounding=rounding()).read_bytes()

    def stop(done_bytes: int, total_bytes: int) -> None:
        if done_bytes > total_bytes // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quantize(planned, tmp_path / "out.gguf", rounding=rounding(), progress=stop)
    quantize(planned, tmp_path / "out.gguf", rounding=rounding())
    assert (tmp_path / "out.gguf").read_bytes() == whole


def test_hessians_are_sums_over_the_inputs_of_each_expert() -> None:
    stream = LayerStream(GgufFile.open(SOURCE), WINDOWS)
    sums = stream.layer(0)
    gate, up, down = (f"blk.0.ffn_{part}_exps.weight" for part in ("gate", "up", "down"))
    tokens = sum(map(len, WINDOWS))
    experts = GgufFile.open(SOURCE).tensors[gate].shape[0]
    used = int(GgufFile.open(SOURCE).metadata["gpt-oss.expert_used_count"])
    assert sum(sums.of(gate, e)[1] for e in range(experts)) == tokens * used
    for e in range(experts):
        assert sums.of(gate, e)[0] is sums.of(up, e)[0]
        assert sums.of(down, e)[1] == sums.of(gate, e)[1]
        hessian = sums.of(down, e)[0]
        assert np.allclose(hessian, hessian.T)
    q, k = (sums.of(f"blk.0.attn_{part}.weight", 0) for part in "qk")
    assert q[0] is k[0] and q[1] == tokens
    with pytest.raises(IngleError, match="ascend"):
        stream.layer(1)
        stream.layer(0)
    assert stream.layer(stream.num_layers).of(HEAD, 0)[1] == tokens


def flat_imatrix() -> Imatrix:
    tensors = GgufFile.open(SOURCE).tensors
    return Imatrix(
        {
            name: Entry(
                np.ones((t.shape[0] if len(t.shape) == 3 else 1, t.shape[-1])),
                np.ones(t.shape[0] if len(t.shape) == 3 else 1),
            )
            for name, t in tensors.items()
            if name.startswith("blk.") and len(t.shape) > 1 and name.endswith("weight")
        },
        ("flat",),
        2,
    )


def test_what_the_imatrix_was_is_written_down(tmp_path: Path) -> None:
    planned = plan(SOURCE, Recipe("Q5_1", keep_mxfp4=False), flat_imatrix())
    fields = gguf.GGUFReader(quantize(planned, tmp_path / "out.gguf")).fields
    assert fields["quantize.imatrix.dataset"].contents() == "flat"
    assert fields["quantize.imatrix.chunks_count"].contents() == 2


@pytest.mark.parametrize("bits", [5.2, 6.0, 8.0])
def test_targets_are_met_and_named_types_kept(bits: float) -> None:
    recipe = Recipe("Q8_0", keep_mxfp4=False, overrides=(Override.parse("attn_v=F16"),))
    planned = plan(SOURCE, recipe, flat_imatrix())
    limit = int(bits * planned.num_weights / 8)
    fitted = fit(planned, limit)
    assert 0.93 * limit < fitted.nbytes <= limit or bits == 8.0
    assert fitted.nbytes <= limit
    assert {a.target for a in fitted.assignments if "attn_v.weight" in a.name} == {"F16"}
    with pytest.raises(IngleError, match="must be at least"):
        fit(planned, limit // 100)


def test_the_command_shows_the_table_and_the_path(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "out.gguf"
    assert quantize_model(str(SOURCE), str(target), Wishes("q4_0", threads=1)) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{target}\n"
    assert "kept: the model was trained in MXFP4" in printed.err
    assert "bits per weight" in printed.err
    with pytest.raises(IngleError, match="must not exist yet"):
        quantize_model(str(SOURCE), str(target), Wishes("q4_0"))


def test_a_target_without_gguf_is_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "out"
    assert quantize_model(str(SOURCE), str(target), Wishes("BF16", threads=1)) == 0
    assert capsys.readouterr().out == f"{target}\n"
    config = json.loads((target / "config.json").read_text())
    assert config["quantization_config"]["quant_method"] == "mxfp4"
    ours, published = SafetensorsFile.open(target), SafetensorsFile.open(TINY / "hf")
    assert ours.tensors.keys() == published.tensors.keys()
    floats = Wishes("BF16", requantize_mxfp4=True)
    quantize_model(str(SOURCE), str(tmp_path / "floats"), floats)
    assert "quantization_config" not in json.loads((tmp_path / "floats/config.json").read_text())
    with pytest.raises(IngleError, match="must not exist yet"):
        quantize_model(str(SOURCE), str(target), Wishes("BF16"))


def test_an_interrupted_folder_resumes_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "SYNC_BYTES", 1)
    planned = for_folder(plan(SOURCE, Recipe("MXFP4_MOE", keep_mxfp4=False), None, "search"))
    whole = quantize_folder(planned, tmp_path / "whole").read_bytes()

    def stop(done_bytes: int, total_bytes: int) -> None:
        if done_bytes > total_bytes // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quantize_folder(planned, tmp_path / "out", progress=stop)
    assert not (tmp_path / "out" / "model.safetensors").exists()
    assert quantize_folder(planned, tmp_path / "out").read_bytes() == whole


@pytest.mark.parametrize(
    ("target", "wishes", "said"),
    [
        ("out", Wishes("Q4_K"), "must be of F32, F16, BF16, MXFP4 or INT8"),
        ("out", Wishes("BF16", tensor_types=("attn=Q8_0",)), "types of a folder must be"),
        ("out", Wishes("BF16", tensor_types=("attn=MXFP4",)), "or MXFP4 for experts"),
        ("out", Wishes("BF16", method="gptq"), "gptq must write GGUF"),
        ("out", Wishes("BF16", target_bpw=5.0), "sizes are met with GGUF's types"),
        ("out.gguf", Wishes("INT8"), "INT8 must go to a folder"),
        ("out", Wishes("INT8", pure=True), "INT8 takes no option"),
        ("out", Wishes("INT8"), "must be a folder in Hugging Face's layout"),
    ],
)
def test_what_a_folder_cannot_hold_is_refused(
    tmp_path: Path, target: str, wishes: Wishes, said: str
) -> None:
    with pytest.raises(IngleError, match=said):
        quantize_model(str(SOURCE), str(tmp_path / target), wishes)
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wishes = Wishes(None, target_bpw=6.0, requantize_mxfp4=True, dry_run=True)
    quantize_model(str(SOURCE), str(tmp_path / "out.gguf"), wishes)
    assert "by its sensitivity" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "wishes",
    [
        Wishes(None),
        Wishes("Q4_0", method="magic"),
        Wishes("Q4_0", method="gptq"),
        Wishes("Q4_0", calibration=("a.txt",)),
        Wishes("Q4_0", target_bpw=-1.0),
        Wishes("Q4_0", target_bpw=4.0, target_size="1GB"),
        Wishes("Q4_0", recipe="/nowhere.toml"),
        Wishes("Q4_0", imatrix="/nowhere.gguf"),
    ],
)
def test_mistakes_are_refused_before_any_work(tmp_path: Path, wishes: Wishes) -> None:
    with pytest.raises(IngleError):
        quantize_model(str(SOURCE), str(tmp_path / "out.gguf"), wishes)
    assert list(tmp_path.iterdir()) == []


def test_metadata_survives(tmp_path: Path) -> None:
    path = quantize(plan(SOURCE, Recipe("Q8_0")), tmp_path / "out.gguf")
    ours, theirs = gguf.GGUFReader(path).fields, gguf.GGUFReader(SOURCE).fields
    changed = {"general.file_type", "general.quantization_version"}
    skipped = {"GGUF.version", "GGUF.tensor_count", "GGUF.kv_count"}
    for key in theirs.keys() - changed - skipped:
        assert json.dumps(ours[key].contents()) == json.dumps(theirs[key].contents()), key
