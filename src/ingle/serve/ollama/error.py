"""Owns mistakes as Ollama's API tells them: one line of text. It does not know routes."""

from __future__ import annotations

from ingle.serve.refusal import Refusal


def body_of(refusal: Refusal) -> dict[str, str]:
    """A refusal in Ollama's words.

    >>> body_of(Refusal(404, "no such model"))
    {'error': 'no such model'}
    """
    return {"error": refusal.message}
