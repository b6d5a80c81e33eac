"""Names become files on this machine: registry, pull, local store.

Owns what a model is called, where its bytes come from and where they lie. It does not know what
is inside them (``formats``) nor who asked (``llm``, ``cli``). Progress goes to stderr alone.
"""

from __future__ import annotations

from ingle.hub.names import is_model_word, listing, pull, remove, resolve
from ingle.hub.registry import DEFAULT_MODEL, Entry
from ingle.hub.store import Listing

__all__ = [
    "DEFAULT_MODEL",
    "Entry",
    "Listing",
    "is_model_word",
    "listing",
    "pull",
    "remove",
    "resolve",
]
