"""The engine over a scripted backend: what requests carry reaches the sampler and the batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ingle.errors import IngleError, UnsupportedError
from ingle.ops import AttentionShape, Batch
from ingle.runtime import Engine, Progress, Request, SamplingParams

VOCAB = 5


@dataclass
class ScriptedBackend:
    """Gives the same logits after every token and keeps the batches."""

    logits: Sequence[float]
    batches: list[Batch] = field(default_factory=list)
    kv_type = "f16"

    def forward(self, _model: Any, batch: Batch) -> np.ndarray:
        self.batches.append(batch)
        return np.tile(np.array(self.logits, np.float32), (len(batch.output_rows), 1))

    def tokens_run(self) -> int:
        return sum(len(batch.ids) for batch in self.batches)


def engine(logits: Sequence[float], num_local_experts: int = 0) -> tuple[Engine, ScriptedBackend]:
    backend = ScriptedBackend(logits)
    shape = AttentionShape(0, 1, 1, 4)
    model = SimpleNamespace(
        vocab_size=VOCAB,
        max_position_embeddings=64,
        attention_shapes=[shape],
        config=SimpleNamespace(num_local_experts=num_local_experts),
    )
    return Engine(model, backend, 64), backend  # type: ignore[arg-type]


def answer(e: Engine, request: Request) -> tuple[list[int], Progress]:
    progress = Progress(len(request.prompt_ids))
    return list(e.generate(request, progress)), progress


def test_penalties_see_prompt_and_answer_each_to_its_rule() -> None:
    e, _ = engine([3.0, 2.9, 2.0, 0.0, 0.0])
    repetition = SamplingParams(temperature=0, repetition_penalty=2.0)
    assert answer(e, Request([0], repetition, max_tokens=3))[0] == [1, 2, 0]
    presence = SamplingParams(temperature=0, presence_penalty=0.5)
    assert answer(e, Request([0], presence, max_tokens=3))[0] == [0, 1, 0]


def test_a_bias_reaches_the_draw() -> None:
    e, _ = engine([3.0, 0, 0, 0, 0])
    params = SamplingParams(temperature=0, logit_bias={4: 50})
    assert answer(e, Request([0], params, max_tokens=2))[0] == [4, 4]


def test_stop_ids_end_and_are_not_handed_out() -> None:
    e, _ = engine([0, 0, 3.0, 0, 0])
    ids, progress = answer(e, Request([0], SamplingParams(0), stop_ids=frozenset({2}), logprobs=1))
    assert (ids, progress.finish_reason, progress.logprobs) == ([], "stop", [])


def test_log_probabilities_come_with_each_token() -> None:
    logits = np.log([0.5, 0.25, 0.15, 0.05, 0.05])
    e, _ = engine(logits.tolist())
    params = SamplingParams(temperature=0, presence_penalty=2)
    ids, progress = answer(e, Request([0], params, max_tokens=2, logprobs=2))
    assert [one.token_id for one in progress.logprobs] == ids == [0, 1]
    for one in progress.logprobs:  # the model's own, whatever the penalties
        assert one.logprob == pytest.approx(logits[one.token_id], abs=1e-6)
        assert [i for i, _ in one.top] == [0, 1]


def test_no_log_probabilities_unless_asked_for() -> None:
    e, _ = engine([1.0, 0, 0, 0, 0])
    assert answer(e, Request([0], max_tokens=2))[1].logprobs == []


def test_every_batch_is_told_the_number_of_experts() -> None:
    e, backend = engine([1.0, 0, 0, 0, 0], num_local_experts=4)
    answer(e, Request([0, 1], max_tokens=3, num_experts_per_tok=2))
    assert [batch.num_experts_per_tok for batch in backend.batches] == [2, 2, 2]
    e.logits([0, 1])
    assert backend.batches[-1].num_experts_per_tok is None


def test_another_number_of_experts_reuses_no_keys_and_values() -> None:
    e, backend = engine([1.0, 0, 0, 0, 0], num_local_experts=4)
    prompt = [0, 1, 2, 3]
    for experts, computed in ((None, 4), (None, 1), (2, 4), (2, 1), (None, 4)):
        backend.batches.clear()
        request = Request(prompt, SamplingParams(0), max_tokens=1, num_experts_per_tok=experts)
        _, progress = answer(e, request)
        assert backend.tokens_run() == computed
        assert progress.cached_tokens == len(prompt) - computed


def test_experts_must_be_there() -> None:
    e, _ = engine([1.0, 0, 0, 0, 0], num_local_experts=4)
    with pytest.raises(IngleError, match="from 1 to 4, but got 5"):
        answer(e, Request([0], num_experts_per_tok=5))
    dense, _ = engine([1.0, 0, 0, 0, 0])
    with pytest.raises(UnsupportedError, match="mixture of experts"):
        answer(dense, Request([0], num_experts_per_tok=1))


def test_a_bias_must_name_tokens_of_the_vocabulary() -> None:
    e, _ = engine([1.0, 0, 0, 0, 0])
    with pytest.raises(IngleError, match="logit_bias"):
        answer(e, Request([0], SamplingParams(logit_bias={VOCAB: 1.0})))
