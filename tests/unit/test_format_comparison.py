"""Formats side by side: the figures are what numpy says of encoded and decoded weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ingle.cli.formats import formats
from ingle.errors import IngleError
from ingle.formats.synth import synthesize
from ingle.numerics import FORMATS
from ingle.quantize.comparison import CANDIDATES, RANGE_BINS, compare, grids, range_bins

WEIGHTS = np.random.default_rng(4).standard_normal((64, 512)).astype(np.float32)


def test_figures_are_those_of_the_restored_weights() -> None:
    found = {one.name: one for one in compare(WEIGHTS)}
    for candidate in CANDIDATES:
        restored = candidate.restore(WEIGHTS, 1).astype(np.float64)
        one, wide = found[candidate.name], WEIGHTS.astype(np.float64)
        mse = np.mean((restored - wide) ** 2)
        cosine = (restored * wide).sum() / np.sqrt((restored**2).sum() * (wide**2).sum())
        assert one.mse == pytest.approx(mse, rel=1e-9), one.name
        assert one.snr_db == pytest.approx(10 * np.log10(np.mean(wide**2) / mse), abs=1e-6)
        assert one.cosine == pytest.approx(cosine, abs=1e-9)
        total = sum(value**2 for value in one.by_range)
        assert total > 0 and len(one.by_range) == RANGE_BINS
        if one.name in FORMATS and one.name != "INT8":  # whose blocks are the kernels', not files'
            assert one.bits_per_weight == FORMATS[one.name].bits_per_weight


def test_more_bits_of_a_family_lose_less() -> None:
    error = {one.name: one.mse for one in compare(WEIGHTS)}
    for family in (
        ("F16", "BF16"),
        ("Q8_0", "Q5_0", "Q4_0"),
        ("Q5_1", "Q4_1"),
        ("Q6_K", "Q5_K", "Q4_K", "Q3_K", "Q2_K"),
        ("INT8 g128", "INT8", "INT4 g32", "INT4 g128"),
        ("FP8 E4M3", "FP8 E5M2"),
        ("NVFP4", "MXFP4"),
    ):
        errors = [error[name] for name in family]
        assert errors == sorted(errors), family


def test_rows_that_do_not_fit_are_told_and_not_measured() -> None:
    found = {one.name: one for one in compare(np.ones((4, 96), np.float32))}
    assert found["Q4_K"].why_not == "rows of 96 are not whole blocks of 256"
    assert found["Q4_K"].bits_per_weight == 4.5
    assert found["Q4_0"].why_not == "" and found["Q4_0"].mse == pytest.approx(0, abs=1e-6)


def test_bins_hold_equal_numbers_of_blocks_in_order() -> None:
    bins = range_bins(WEIGHTS)
    most = np.abs(WEIGHTS.reshape(-1, 32)).max(axis=1)
    counts = np.bincount(bins, minlength=RANGE_BINS)
    assert counts.max() - counts.min() <= 1
    for low in range(RANGE_BINS - 1):
        assert most[bins == low].max() <= most[bins == low + 1].min()


def test_grids_are_what_formats_can_store() -> None:
    found = grids()
    assert len(found["MXFP4, NVFP4"]) == 15 and len(found["IQ4_NL"]) == 16
    assert len(found["FP8 E4M3"]) == 253  # 256 less two NaN, and one zero of two
    for values in found.values():
        assert np.abs(values).max() == 1 and (np.diff(values) > 0).all()


def test_wrong_wishes() -> None:
    with pytest.raises(IngleError, match="Q9_9"):
        compare(WEIGHTS, names=["Q9_9"])
    with pytest.raises(IngleError, match="finite"):
        compare(np.full((2, 64), np.nan, np.float32))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, png = synthesize("tiny-gpt-oss", tmp_path / "model.gguf"), tmp_path / "formats.png"
    formats(str(model), "blk.0.ffn_up_exps.weight", [], str(png), 1, True)
    told = json.loads(capsys.readouterr().out)
    assert told["tensor"] == "blk.0.ffn_up_exps.weight (MXFP4)"
    error = {one["name"]: one["mse"] for one in told["formats"]}
    assert error["MXFP4"] == 0 and error["Q4_0"] > 0
    assert png.read_bytes().startswith(b"\x89PNG")
    formats(None, None, ["Q4_0", "MXFP4"], None, 1, False)
    shown = capsys.readouterr().out
    assert "Gaussian" in shown and "4.5" in shown and "E8M0" in shown
    for model_name, tensor in ((str(model), "no.such"), (None, "x")):
        with pytest.raises(IngleError, match="--tensor"):
            formats(model_name, tensor, [], None, 1, False)
