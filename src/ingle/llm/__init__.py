"""Where text meets tokens: the Python API. Names become files, text becomes ids and back.

It does not know kernels, pages or HTTP.
"""

from ingle.llm.async_stream import AsyncStream
from ingle.llm.completion import Completion, Timings, TokenLogprob, Usage
from ingle.llm.model import LLM
from ingle.llm.options import ChatOptions, GenerateOptions
from ingle.llm.stream import Stream

__all__ = [
    "LLM",
    "AsyncStream",
    "ChatOptions",
    "Completion",
    "GenerateOptions",
    "Stream",
    "Timings",
    "TokenLogprob",
    "Usage",
]
