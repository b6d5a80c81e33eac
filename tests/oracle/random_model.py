"""Small random models of awkward shapes, as transformers makes, saves and runs them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

VOCAB = 271  # not a multiple of anything; at least the 256 bytes of a tokenizer

ATTENTION = {
    "vocab_size": VOCAB,
    "hidden_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "head_dim": 16,
    "max_position_embeddings": 8192,
}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 150000.0,
    "factor": 32.0,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "truncate": False,
    "original_max_position_embeddings": 4096,
}
GPT_OSS = {
    **ATTENTION,
    "model_type": "gpt_oss",
    "intermediate_size": 64,
    "num_local_experts": 5,
    "num_experts_per_tok": 3,
    "sliding_window": 7,
    "max_position_embeddings": 131072,
    "rope_parameters": YARN,
}
LLAMA = {**ATTENTION, "model_type": "llama", "hidden_size": 144, "intermediate_size": 160}
QWEN3 = {**ATTENTION, "model_type": "qwen3", "intermediate_size": 160, "head_dim": 32}
QWEN3_MOE = {
    **QWEN3,
    "model_type": "qwen3_moe",
    "moe_intermediate_size": 64,
    "num_experts": 6,
    "num_experts_per_tok": 2,
}
GPT2 = {
    "model_type": "gpt2",
    "vocab_size": VOCAB,
    "n_embd": 96,
    "n_layer": 3,
    "n_head": 3,
    "n_positions": 200,
}


@dataclass(frozen=True)
class Case:
    """A configuration, and how many random tokens go through it."""

    settings: dict[str, Any]
    tokens: int = 90

    def with_(self, tokens: int = 90, **changes: Any) -> Case:
        return Case({**self.settings, **changes}, tokens)

    @property
    def ids(self) -> list[int]:
        return np.random.default_rng(self.tokens).integers(0, VOCAB, self.tokens).tolist()


gpt_oss, llama, qwen3, qwen3_moe, gpt2 = map(Case, (GPT_OSS, LLAMA, QWEN3, QWEN3_MOE, GPT2))

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
QWEN_YARN = {
    "rope_type": "yarn",
    "rope_theta": 1000000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 64,
}

CASES = {
    "gpt_oss": gpt_oss,
    "gpt_oss-past-4096": gpt_oss.with_(
        tokens=4300,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=64,
        sliding_window=128,
    ),
    "gpt_oss-full-first": gpt_oss.with_(
        layer_types=["full_attention", "full_attention", "sliding_attention"]
    ),
    "gpt_oss-every-expert": gpt_oss.with_(num_local_experts=4, num_experts_per_tok=4),
    "gpt_oss-rounded-yarn": gpt_oss.with_(rope_parameters={**YARN, "truncate": True}),
    "gpt_oss-no-yarn": gpt_oss.with_(rope_parameters={"rope_type": "default", "rope_theta": 1e4}),
    "gpt_oss-tied": gpt_oss.with_(tie_word_embeddings=True),
    "llama": llama,
    "llama-tied": llama.with_(tie_word_embeddings=True, num_key_value_heads=9),
    "llama3": llama.with_(rope_parameters=LLAMA3, head_dim=32),
    "qwen3": qwen3,
    "qwen3-tied": qwen3.with_(tie_word_embeddings=True, num_attention_heads=3),
    "qwen3-yarn": qwen3.with_(rope_parameters=QWEN_YARN, tokens=200),
    "qwen3_moe": qwen3_moe.with_(norm_topk_prob=True),
    "qwen3_moe-not-normalized": qwen3_moe.with_(norm_topk_prob=False, num_experts_per_tok=5),
    "qwen3_moe-some-dense": qwen3_moe.with_(
        norm_topk_prob=True, num_hidden_layers=6, decoder_sparse_step=2, mlp_only_layers=[3]
    ),
    "gpt2": gpt2,
    "gpt2-narrow": gpt2.with_(n_inner=160, n_head=2, layer_norm_epsilon=1e-3),
}


def random_model(case: Case) -> Any:
    """A transformers model in which no weight, gain, bias or sink is a neutral number."""
    settings = dict(case.settings)
    config = transformers.AutoConfig.for_model(settings.pop("model_type"), **settings)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            is_gain = weight.ndim == 1 and not name.endswith(("bias", "sinks"))
            spread = 0.3 if weight.ndim == 1 or name.endswith("_bias") else weight.shape[-1] ** -0.5
            weight.copy_(noise * spread + (1.0 if is_gain else 0.0))
    return model.float().eval()


def loaded(folder: Path, **changes: Any) -> Any:
    """A saved model in float32; its frequencies are computed anew."""
    kind = transformers.AutoModelForCausalLM
    options = {"dtype": torch.float32, "attn_implementation": "eager", **changes}
    return kind.from_pretrained(folder, **options).eval()


def their_logits(model: Any, ids: list[int]) -> np.ndarray:
    with torch.no_grad():
        return model(torch.tensor([ids]), use_cache=False).logits[0].float().numpy()


def write_tokenizer(folder: Path) -> None:
    """The 256 bytes; the rest of the vocabulary stays unnamed."""
    letters = sorted(ByteLevel.alphabet())
    tokenizer = Tokenizer(BPE({letter: i for i, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    tokenizer.save(str(folder / "tokenizer.json"))
