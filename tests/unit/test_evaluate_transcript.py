"""Conversations measured by channel: every id has the channel Harmony gives it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ingle.chat.conversation import Conversation
from ingle.chat.harmony import AnalysisPolicy, HarmonySettings, lower, render
from ingle.cli.eval import Wishes, evaluate_model
from ingle.errors import IngleError
from ingle.evaluate.score import Evaluation, evaluate, evaluate_conversations
from ingle.evaluate.subject import Subject
from ingle.evaluate.transcript import HEADER, channels
from ingle.evaluate.window import Windows
from ingle.formats.synth import synthesize
from ingle.tokenizer import o200k_harmony

CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at":1}'}}
TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is there?"},
    {"role": "assistant", "reasoning": "I must look.", "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": "a lamp"},
    {"role": "assistant", "reasoning": "Now I know.", "content": "A lamp."},
]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize("tiny-gpt-oss", tmp_path_factory.mktemp("transcript") / "model.gguf")


def test_ids_of_a_conversation_have_their_channels() -> None:
    tokenizer = o200k_harmony()
    settings = HarmonySettings(analysis=AnalysisPolicy.KEEP_ALL)
    ids = render(lower(Conversation.from_openai(TALK), settings), opens=None)
    labels = channels(tokenizer, ids)
    assert len(labels) == len(ids)

    def said(label: str) -> str:
        return tokenizer.decode(one for one, name in zip(ids, labels, strict=True) if name == label)

    assert said("analysis") == "I must look.<|end|>Now I know.<|end|>"
    assert said("final") == "A lamp.<|end|>"
    assert said("user") == "What is there?<|end|>"
    assert said("commentary") == '{"at":1}<|call|>a lamp<|end|>'
    assert said(HEADER).count("<|start|>") == said(HEADER).count("<|message|>") == len(TALK) + 3
    assert "Be brief." in said("developer")


def test_other_formats_have_one_channel(tiny: Path) -> None:
    subject = Subject.open(str(tiny), 8, threads=1)
    assert channels(subject.tokenizer, [1, 2, 3]) == ["all"] * 3


def test_channels_add_up_to_the_whole(tiny: Path) -> None:
    subject, other = (Subject.open(str(tiny), 24, threads=1) for _ in range(2))
    ids = [int(one) for one in np.random.default_rng(1).integers(0, subject.vocab_size, 48)]
    talks = [(ids[:24], ["a", "b", "b", "c"] * 6), (ids[24:40], ["b"] * 16)]
    found = evaluate_conversations(subject, talks, against=other)
    counts = {label: one.summary().num_scored for label, one in found.items()}
    assert counts == {"a": 5, "b": 12 + 15, "c": 6}
    assert all(one.summary().mean_kld == 0 for one in found.values())
    together = Evaluation([x for one in found.values() for x in one.surprises])
    windows = Windows((tuple(ids[:24]),), 24)
    second_half = evaluate(subject, windows).surprises[0]
    first = np.sort(np.concatenate(together.surprises))
    assert np.isin(np.round(second_half, 9), np.round(first, 9)).all()


def test_the_command(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "talks.jsonl"
    turns = [TALK[1], {"role": "assistant", "content": "A lamp."}]
    path.write_text(json.dumps(turns) + "\n\n" + json.dumps({"messages": turns}) + "\n")
    wishes = Wishes(str(path), 512, None, str(tiny), None, 8, False, False, 1, "cpu")
    evaluate_model(str(tiny), wishes, True)
    told = json.loads(capsys.readouterr().out)["channels"]
    assert told.keys() == {"all"} and told["all"]["num_windows"] == 2
    assert told["all"]["mean_kld"] == 0 and told["all"]["num_scored"] > 20
    evaluate_model(str(tiny), wishes, False)
    assert "perplexity" in capsys.readouterr().out
    path.write_text("[]\n[1]\n")
    with pytest.raises(IngleError):
        evaluate_model(str(tiny), wishes, True)
