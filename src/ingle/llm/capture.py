"""Owns captures: replies as ids with all that made them, so that anybody can make them again.

A capture is plain JSON. It holds what was said, as ids. It does not know conversations or files.
"""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ingle import __version__
from ingle.errors import IngleError
from ingle.llm.constraint import of_spec
from ingle.llm.stream import Stream
from ingle.plan.anatomy import anatomy
from ingle.plan.memory import plan_memory
from ingle.plan.subject import open_subject
from ingle.runtime import Progress, Request, SamplingParams

if TYPE_CHECKING:
    from ingle.llm.model import LLM

FORMAT = "ingle capture 1"
_BROKEN_OFF = "cancelled"  # by a stop string, or by somebody: its ids tell how long it was


@dataclass(frozen=True)
class Replay:
    """How a reply came out again. at: place of the first id that differs, None for none."""

    num_ids: int
    at: int | None
    same_end: bool

    @property
    def same(self) -> bool:
        """Whether all is as it was, bit for bit."""
        return self.at is None and self.same_end


def capture(llm: LLM, settings: Mapping[str, Any], replies: Iterable[Stream]) -> dict[str, Any]:
    """Finished replies, as an object for JSON. settings: those the model was opened with."""
    return {
        "format": FORMAT,
        "versions": {
            "ingle": __version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "machine": platform.machine(),
        },
        "model": {"name": llm.path.name, "bytes": _bytes(llm)},
        "kernels": llm.kernels,
        "settings": {**settings, "context": llm.context_tokens, "kv_type": llm.kv_type},
        "plan": _plan(llm),
        "replies": [_reply(stream) for stream in replies],
    }


def replay(llm: LLM, told: Mapping[str, Any]) -> Replay:
    """Makes one of a capture's `replies` again. Raises IngleError for what is no such thing."""
    request, expected = _request(llm, told), _ids(told, "ids")
    progress = Progress(len(request.prompt_ids))
    made = list(llm.engine.generate(request, progress))
    pairs = zip(made, expected, strict=False)
    differs = next((i for i, (a, b) in enumerate(pairs) if a != b), None)
    if differs is None and len(made) != len(expected):
        differs = min(len(made), len(expected))
    same_end = told.get("ended") in (_BROKEN_OFF, str(progress.finish_reason))
    return Replay(len(made), differs, same_end)


def _reply(stream: Stream) -> dict[str, Any]:
    request, done = stream.request, stream.completion
    sampling = dataclasses.asdict(request.sampling)
    return {
        "prompt_ids": list(request.prompt_ids),
        "sampling": {**sampling, "logit_bias": list(request.sampling.logit_bias.items())},
        "max_tokens": request.max_tokens,
        "stop_ids": sorted(request.stop_ids),
        "num_experts_per_tok": request.num_experts_per_tok,
        "constraint": getattr(request.constraint, "spec", None),
        "ids": list(done.token_ids),
        "ended": str(stream.progress.finish_reason),
        "finish_reason": done.finish_reason,
        "repairs": dict(done.repairs),
    }


def _request(llm: LLM, told: Mapping[str, Any]) -> Request:
    try:
        sampling = {**told["sampling"], "logit_bias": dict(told["sampling"]["logit_bias"])}
        max_tokens = told["max_tokens"]
        if told.get("ended") == _BROKEN_OFF:
            max_tokens = max(1, len(told["ids"]))
        return Request(
            _ids(told, "prompt_ids"),
            SamplingParams(**sampling),
            max_tokens,
            frozenset(_ids(told, "stop_ids")),
            num_experts_per_tok=told["num_experts_per_tok"],
            constraint=of_spec(llm.tokenizer, told["constraint"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        rule = f"a reply must have its fields, but got {type(error).__name__}: {error!s:.80}"
        raise IngleError("capture", rule, "make the capture again") from None


def _ids(told: Mapping[str, Any], name: str) -> list[int]:
    ids = told.get(name)
    if not isinstance(ids, list) or not all(type(i) is int for i in ids):
        raise IngleError(f"capture: {name}", f"it is a list of ids, but got {ids!r:.80}")
    return ids


def _bytes(llm: LLM) -> int | None:
    return llm.path.stat().st_size if llm.path.is_file() else None


def _plan(llm: LLM) -> dict[str, int] | None:
    """Bytes by category; None where there is no file to plan for."""
    if not llm.path.exists():
        return None
    plan = plan_memory(
        anatomy(open_subject(str(llm.path)), kv_type=llm.kv_type), llm.context_tokens
    )
    return dict(plan.categories)
