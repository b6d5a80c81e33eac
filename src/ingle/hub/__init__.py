"""Names become files on this machine: registry, pull, what lies here already, given names.

Owns what a model is called, where its bytes come from and where they lie. It does not know what
is inside them (``formats``) nor who asked (``llm``, ``cli``). Progress goes to stderr alone, unless
whoever asks wants to be told instead.
"""

from __future__ import annotations

from ingle.hub.alias import also_called
from ingle.hub.creation import copy, create, create_from, modelfile_text, settings
from ingle.hub.inventory import Listing, listing, remove
from ingle.hub.names import is_known, is_model_word, locate, pull, resolve
from ingle.hub.place import Found, find, is_here
from ingle.hub.registry import DEFAULT_MODEL, Entry

__all__ = [
    "DEFAULT_MODEL",
    "Entry",
    "Found",
    "Listing",
    "also_called",
    "copy",
    "create",
    "create_from",
    "find",
    "is_here",
    "is_known",
    "is_model_word",
    "listing",
    "locate",
    "modelfile_text",
    "pull",
    "remove",
    "resolve",
    "settings",
]
