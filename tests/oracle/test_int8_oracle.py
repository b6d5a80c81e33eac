"""INT8 checkpoints in transformers through compressed-tensors: the same logits as here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the extra `oracle`: pip install '.[oracle]'")
pytest.importorskip("compressed_tensors", reason="needs the extra `oracle`")

import torch
import transformers

from ingle.evaluate.subject import Subject
from ingle.formats.synth import synthesize
from ingle.quantize.int8.calibrate import calibrate
from ingle.quantize.int8.job import write_int8
from ingle.quantize.int8.plan import make_plan
from ingle.quantize.int8.scheme import Scheme
from ingle.quantize.int8.simulate import simulating

IDS = [int(one) for one in np.random.default_rng(5).integers(0, 200, 40)]

SCHEMES = {
    "weights": Scheme(),
    "groups": Scheme(group=32, calibration="mse"),
    "asymmetric": Scheme(symmetric=False),
    "asymmetric groups": Scheme(group=16, symmetric=False, calibration="percentile"),
    "dynamic": Scheme(activations="dynamic"),
    "dynamic asymmetric": Scheme(activations="dynamic", activations_symmetric=False),
    "static": Scheme(activations="static"),
    "static asymmetric": Scheme(
        activations="static", activations_symmetric=False, calibration="mse"
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SCHEMES)
def test_transformers_says_the_same(name: str, tmp_path: Path) -> None:
    source, out, text = tmp_path / "source", tmp_path / "out", tmp_path / "text.txt"
    synthesize("tiny-llama", source, layout="hf")
    text.write_text("Whenever I find myself growing grim about the mouth. " * 20)
    scheme = SCHEMES[name]
    observers = calibrate(str(source), str(text), 32, 3) if scheme.activations == "static" else {}
    write_int8(make_plan(source, scheme, observers), out)

    subject = Subject(str(out), out, simulating(out), 64)
    ours = np.concatenate([rows for _, rows in subject.scan(IDS, range(len(IDS)))])
    model = transformers.AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32).eval()
    with torch.no_grad():
        theirs = model(torch.tensor([IDS])).logits[0].numpy()
    off = np.sqrt(np.mean((ours - theirs) ** 2)) / theirs.std()
    # A value next to a tie may be rounded the other way, and then moves by a whole step.
    assert off < (1e-4 if scheme.activations == "none" else 2e-2)
    assert (ours.argmax(1) == theirs.argmax(1)).mean() > 0.95
