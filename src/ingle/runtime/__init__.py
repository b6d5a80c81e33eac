"""Owns running: requests, KV pages, sampling, the engine. Token ids only."""

from ingle.runtime.engine import Engine, Progress
from ingle.runtime.logprobs import TokenLogprobs
from ingle.runtime.request import FinishReason, Request, SamplingParams

__all__ = ["Engine", "FinishReason", "Progress", "Request", "SamplingParams", "TokenLogprobs"]
