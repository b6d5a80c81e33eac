"""What Llama, Qwen3 and GPT-2 refuse, and what they overlook.

Their logits are held to transformers in tests/oracle.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from ingle.backends import make_backend
from ingle.errors import IngleError
from ingle.formats import open_container
from ingle.models import load_model
from ingle.models.decoder import Decoder
from ingle.runtime import Engine

HIDDEN, HEADS, KV_HEADS, HEAD_DIM, INNER, VOCAB = 32, 4, 2, 8, 64, 40
LLAMA = {
    "model_type": "llama",
    "hidden_size": HIDDEN,
    "num_hidden_layers": 1,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "intermediate_size": INNER,
    "rms_norm_eps": 1e-5,
    "max_position_embeddings": 64,
    "tie_word_embeddings": True,
}


def tensors() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (VOCAB, HIDDEN),
        "model.norm.weight": (HIDDEN,),
        "model.layers.0.input_layernorm.weight": (HIDDEN,),
        "model.layers.0.self_attn.q_proj.weight": (HEADS * HEAD_DIM, HIDDEN),
        "model.layers.0.self_attn.k_proj.weight": (KV_HEADS * HEAD_DIM, HIDDEN),
        "model.layers.0.self_attn.v_proj.weight": (KV_HEADS * HEAD_DIM, HIDDEN),
        "model.layers.0.self_attn.o_proj.weight": (HIDDEN, HEADS * HEAD_DIM),
        "model.layers.0.post_attention_layernorm.weight": (HIDDEN,),
        "model.layers.0.mlp.gate_proj.weight": (INNER, HIDDEN),
        "model.layers.0.mlp.up_proj.weight": (INNER, HIDDEN),
        "model.layers.0.mlp.down_proj.weight": (HIDDEN, INNER),
    }
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def write(folder: Path, config: dict[str, Any], **more: np.ndarray) -> Path:
    (folder / "config.json").write_text(json.dumps(config))
    save_file({**tensors(), **more}, folder / "model.safetensors")
    return folder


def load(path: Path, **options: Any) -> Decoder:
    return load_model(open_container(path), make_backend("reference"), 16, **options)


def logits(path: Path) -> np.ndarray:
    backend = make_backend("reference")
    model = load_model(open_container(path), backend, 16)
    return Engine(model, backend, 16).logits(list(range(16)))


def test_a_copy_of_a_tied_embedding_is_no_surprise(tmp_path: Path) -> None:
    (tmp_path / "with").mkdir()
    plain = write(tmp_path, LLAMA)
    table = tensors()["model.embed_tokens.weight"]
    copied = write(tmp_path / "with", LLAMA, **{"lm_head.weight": table})
    np.testing.assert_array_equal(logits(plain), logits(copied))


def test_buffers_of_old_files_are_left_alone(tmp_path: Path) -> None:
    inverse = {"model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(4, np.float32)}
    assert load(write(tmp_path, LLAMA, **inverse)).num_hidden_layers == 1


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"attention_bias": True}, "attention_bias] value must be False for now, but got True"),
        ({"mlp_bias": True}, "mlp_bias] value must be False"),
        ({"hidden_act": "gelu"}, "hidden_act] value must be silu"),
        ({"num_local_experts": 8}, "num_local_experts] value must be 0"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor] value must be 1.0"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor] value must"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "but got 'linear'"),
        ({"rope_scaling": {"rope_type": "llama3"}}, "factor] value must be a number"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}, "original_max_position_embedd"),
        ({"num_attention_heads": 64}, "head_dim] value must be a whole number from 1 to"),
        ({"head_dim": 9}, "must have shape"),
        ({"tie_word_embeddings": False}, "tensor 'lm_head.weight' must exist"),
        ({"max_position_embeddings": None}, "max_position_embeddings] value must be"),
        ({"model_type": "qwen3"}, "tensor 'model.layers.0.self_attn.q_norm.weight' must exist"),
        ({"model_type": "qwen3", "use_sliding_window": True}, "use_sliding_window] value must be"),
        ({"model_type": "gpt2"}, "n_embd] value must be a whole number"),
        ({"model_type": "gpt2", "n_embd": 32, "n_layer": 1, "n_head": 4}, "n_positions] value"),
        (
            {
                "model_type": "qwen3_moe",
                "num_experts": 2,
                "num_experts_per_tok": 3,
                "moe_intermediate_size": 8,
            },
            "num_experts_per_tok] value must be a whole number from 1 to 2, but got 3",
        ),
        (
            {
                "model_type": "qwen3_moe",
                "num_experts": 2,
                "num_experts_per_tok": 1,
                "moe_intermediate_size": 8,
                "mlp_only_layers": [0.5],
            },
            "mlp_only_layers] values must be layers from 0 to 0",
        ),
    ],
)
def test_settings_that_are_refused(tmp_path: Path, changes: dict[str, Any], rule: str) -> None:
    with pytest.raises(IngleError) as caught:
        load(write(tmp_path, {**LLAMA, **changes}))
    assert rule in str(caught.value)


def test_a_bias_is_not_dropped_silently(tmp_path: Path) -> None:
    bias = {"model.layers.0.self_attn.q_proj.bias": np.zeros(32, np.float32)}
    with pytest.raises(IngleError, match=r"but got 'model\.layers\.0\.self_attn\.q_proj\.bias'"):
        load(write(tmp_path, LLAMA, **bias))


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"num_experts_per_tok": 2}, r"\[num_experts_per_tok\] model must have experts"),
        ({"truncate_yarn": True}, r"\[truncate_yarn\] model must scale its context by yarn"),
        ({"truncate_yarn": False}, r"\[truncate_yarn\] model must scale its context by yarn"),
    ],
)
def test_options_that_do_not_fit(tmp_path: Path, options: dict[str, Any], rule: str) -> None:
    with pytest.raises(IngleError, match=rule):
        load(write(tmp_path, LLAMA), **options)
