"""Owns running: requests, KV pages, sampling, the engine. Token ids only."""

from ingle.runtime.engine import Engine
from ingle.runtime.logprobs import TokenLogprobs
from ingle.runtime.loop import EngineLoop
from ingle.runtime.meter import Meter
from ingle.runtime.prefix import common_prefix
from ingle.runtime.prefix_store import PrefixStore, fingerprint
from ingle.runtime.request import FinishReason, Request, SamplingParams
from ingle.runtime.task import Progress
from ingle.runtime.terms import BusyError, ClosingError, DeadlineError, Terms

__all__ = [
    "BusyError",
    "ClosingError",
    "DeadlineError",
    "Engine",
    "EngineLoop",
    "FinishReason",
    "Meter",
    "PrefixStore",
    "Progress",
    "Request",
    "SamplingParams",
    "Terms",
    "TokenLogprobs",
    "common_prefix",
    "fingerprint",
]
