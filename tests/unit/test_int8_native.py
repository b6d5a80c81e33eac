"""INT8 in the native kernels, where checkpoints are odd: the bits that the reference emulates."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ingle import _native
from ingle.backends.cpu.weight import CpuMatrix, make_matrix
from ingle.backends.reference.arithmetic import KernelArithmetic, ReferenceWeight
from ingle.models.decoder import Decoder
from ingle.models.llama import Llama
from ingle.numerics import FORMATS
from ingle.numerics.int8_blocks import INT8, joined
from ingle.numerics.int8_inputs import InputRounding
from ingle.ops import ScannedHead
from ingle.quantize.int8.scheme import Scheme

sys.path.insert(0, str(Path(__file__).parent))
from int8_folder import Tensors, edited, logits, made, plain, rounded, with_zero_points

Floats = NDArray[np.float32]
HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"
LAYER = "model.layers.0."


# --- inputs that are no numbers ---


def as_matrix(values: Floats) -> CpuMatrix:
    return make_matrix("m", FORMATS["F32"], values.view(np.uint8))


def products(x: Floats, weight: CpuMatrix, how: InputRounding) -> Floats:
    """Rounded rows times a weight, through a tape."""
    (rows, columns), width = x.shape, weight.meta.shape[0]
    table, one = as_matrix(x), as_matrix(np.eye(width, dtype=np.float32))
    tape = _native.Tape(_native.Pool(2), _native.best_instruction_set(), 16)
    inputs, out, last = tape.slot(columns, 0), tape.slot(width, 0), tape.slot(width, 0)
    between = tape.slot(columns, 2 if weight.wants_int8 else 0)
    tape.embed(table.native, None, inputs)
    tape.round_inputs(inputs, how.dynamic, how.symmetric, how.scale, how.zero_point, between)
    tape.linear(between, [weight.native], [None], out, False)
    tape.select_outputs(out, last)
    tape.logits(last, one.native)
    found = np.zeros((rows, width), np.float32)
    ids, zeros = np.arange(rows, dtype=np.int32), np.zeros(rows, np.int32)
    tape.run(ids, zeros, zeros, ids, [], 1, found, 0)
    return found


@pytest.mark.parametrize(
    "how",
    [
        InputRounding(True, True),
        InputRounding(True, False),
        InputRounding(False, True, 0.02),
        InputRounding(False, False, 0.02, -7.0),
    ],
)
@pytest.mark.parametrize("integers", [True, False])
@pytest.mark.filterwarnings("ignore")
def test_what_is_no_number_stays_none(how: InputRounding, integers: bool) -> None:
    random = np.random.default_rng(1)
    x = random.standard_normal((6, 64)).astype(np.float32)
    x[1, 3] = np.nan
    x[2, 5], x[3, 40] = np.inf, -np.inf
    x[4, :2] = 3e38, -3e38  # a range beyond float32
    codes, scale = random.integers(-127, 128, (32, 64)), np.full((32, 1), 0.01, np.float32)
    codes[:, :2] = 0  # so that no product is beyond it too
    if integers:
        data = joined(codes.astype(np.int8), scale)
        weight, held = make_matrix("w", INT8, data), ReferenceWeight("w", INT8, data, 64)
    else:
        values = codes.astype(np.float32) * scale
        weight = as_matrix(values)
        held = ReferenceWeight("w", FORMATS["F32"], values.view(np.uint8), 64)
    found = products(x, weight, how)
    np.testing.assert_array_equal(found, KernelArithmetic().rounded_linear(x, held, how))
    assert np.isnan(found[1]).all() and np.isfinite(found[[0, 5]]).all()
    scale_found = how.parameters(x)[0]
    assert np.isnan(scale_found[1]) or not how.dynamic


@pytest.mark.parametrize("scale", [0.0, -1.0, 2e38, float("inf"), float("nan")])
def test_scales_beyond_numbers_are_refused(scale: float) -> None:
    tape = _native.Tape(_native.Pool(1), _native.best_instruction_set(), 8)
    with pytest.raises(ValueError, match="fixed rounding"):
        tape.round_inputs(tape.slot(32, 0), False, True, scale, 0.0, tape.slot(32, 2))


# --- heads, embeddings and neighbours of other kinds ---


@pytest.fixture(scope="module", params=["none", "dynamic"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    scheme = Scheme(activations=request.param, activations_symmetric=False)
    return made("tiny-llama", tmp_path_factory.mktemp("int8"), scheme)


def runs_as_promised(path: Path) -> Floats:
    """Logits of the kernels, which are those that the reference emulates."""
    found = logits(path, native=True)
    np.testing.assert_array_equal(found, logits(path, native=False))
    return found


def test_a_head_rounds_its_inputs_as_the_file_asks(folder: Path, tmp_path: Path) -> None:
    def change(tensors: Tensors) -> None:
        tensors[HEAD] = tensors[EMBEDDING]
        rounded(tensors, HEAD)

    path = edited(folder, tmp_path / "out", change, {"tie_word_embeddings": False})
    runs_as_promised(path)
    exact = logits(path, native=True, exact=True)
    off = exact - logits(path, native=False, exact=True)
    assert np.sqrt(np.mean(off**2)) < 3e-2 * exact.std()


def test_a_head_that_rounds_may_have_a_scan_that_does_not(folder: Path, tmp_path: Path) -> None:
    def scanned(model: Decoder) -> None:
        assert isinstance(model, Llama)
        how, scan = InputRounding(True, True), model.embed_tokens
        model.lm_head = ScannedHead(model.lm_head.weight, None, how, scan=scan)

    path = edited(folder, tmp_path / "out", lambda t: rounded(t, EMBEDDING))
    found = logits(path, native=True, change=scanned)
    np.testing.assert_array_equal(found, logits(path, native=False, change=scanned))
    assert (found != logits(path, native=True)).any()


def test_a_tied_embedding_is_a_head_of_two_parts(folder: Path, tmp_path: Path) -> None:
    runs_as_promised(edited(folder, tmp_path / "out", lambda t: rounded(t, EMBEDDING)))


@pytest.mark.parametrize("part", ["self_attn.q_proj", "self_attn.v_proj", "mlp.up_proj"])
def test_neighbours_with_zero_points_change_nothing(
    folder: Path, tmp_path: Path, part: str
) -> None:
    """Their products are of floats; the others stay those of integers, to the last bit, which no
    layer behind them rounds away."""

    def change(tensors: Tensors) -> None:
        with_zero_points(tensors, f"{LAYER}{part}.weight")
        behind = [n for n in tensors if "layers.1." in n and f"{n}_scale" in tensors]
        for name in (f"{LAYER}self_attn.o_proj.weight", f"{LAYER}mlp.down_proj.weight", *behind):
            plain(tensors, name)
        for name in {EMBEDDING, HEAD} & tensors.keys():
            plain(tensors, name)

    runs_as_promised(edited(folder, tmp_path / "out", change))
