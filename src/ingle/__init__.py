"""ingle brings large open models home. ``from ingle import LLM``; see :class:`ingle.llm.LLM`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ingle.llm import LLM

__all__ = ["LLM", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:  # the heavy parts load on first use: `import ingle` is instant
    if name == "LLM":
        from ingle.llm import LLM

        return LLM
    raise AttributeError(f"module 'ingle' has no attribute {name!r}")
