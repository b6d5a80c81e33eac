"""INT8 checkpoints in transformers through compressed-tensors: the same logits as here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the extra `oracle`: pip install '.[oracle]'")
pytest.importorskip("compressed_tensors", reason="needs the extra `oracle`")

import torch
import transformers
from compressed_tensors.quantization.lifecycle.forward import fake_quantize
from compressed_tensors.quantization.utils.helpers import compute_dynamic_scales_and_zp

from ingle.evaluate.subject import Subject
from ingle.formats import SafetensorsFile
from ingle.formats.compressed_tensors import CompressedFile, read_config
from ingle.formats.synth import synthesize
from ingle.quantize.int8.calibrate import calibrate
from ingle.quantize.int8.job import write_int8
from ingle.quantize.int8.plan import make_plan
from ingle.quantize.int8.scheme import Scheme

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
ROUNDING = [name for name, scheme in SCHEMES.items() if scheme.activations != "none"]


def written(scheme: Scheme, folder: Path) -> Path:
    """A small model as an INT8 folder."""
    source, out, text = folder / "source", folder / "out", folder / "text.txt"
    synthesize("tiny-llama", source, layout="hf")
    text.write_text("Whenever I find myself growing grim about the mouth. " * 20)
    observers = calibrate(str(source), str(text), 32, 3) if scheme.activations == "static" else {}
    write_int8(make_plan(source, scheme, observers), out)
    return out


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SCHEMES)
def test_transformers_says_the_same(name: str, tmp_path: Path) -> None:
    scheme = SCHEMES[name]
    out = written(scheme, tmp_path)

    subject = Subject.open(str(out), 64, backend="reference")
    ours = np.concatenate([rows for _, rows in subject.scan(IDS, range(len(IDS)))])
    model = transformers.AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32).eval()
    with torch.no_grad():
        theirs = model(torch.tensor([IDS])).logits[0].numpy()
    off = np.sqrt(np.mean((ours - theirs) ** 2)) / theirs.std()
    # A value next to a tie may be rounded the other way, and then moves by a whole step.
    assert off < (1e-4 if scheme.activations == "none" else 2e-2)
    assert (ours.argmax(1) == theirs.argmax(1)).mean() > 0.95


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ROUNDING)
def test_inputs_are_rounded_to_the_same_bits(name: str, tmp_path: Path) -> None:
    """Whole models differ by what one last bit does to a tie; on equal inputs nothing does."""
    scheme = SCHEMES[name]
    out = written(scheme, tmp_path)
    said = json.loads((out / "config.json").read_text())["quantization_config"]
    file = CompressedFile(SafetensorsFile.open(out), read_config(said, "config.json"))
    model = transformers.AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32).eval()
    seen: dict[str, torch.Tensor] = {}
    layers = {key: module for key, module in model.named_modules() if key.endswith("_proj")}
    for key, module in layers.items():
        module.register_forward_pre_hook(lambda _, x, key=key: seen.update({key: x[0].clone()}))
    with torch.no_grad():
        model(torch.tensor([IDS]))
    assert len(seen) == len(file.int8_names) > 10
    for key, x in seen.items():
        rounding = file.rounding(f"{key}.weight")
        assert rounding is not None
        arguments = layers[key].quantization_scheme.input_activations
        if scheme.activations == "dynamic":
            scale, zero = compute_dynamic_scales_and_zp(x, arguments, layers[key])
        else:
            scale, zero = layers[key].input_scale, getattr(layers[key], "input_zero_point", None)
        theirs = fake_quantize(x, scale, zero, arguments)[0].numpy()
        np.testing.assert_array_equal(rounding.apply(x[0].numpy()), theirs)
