"""Owns which names of models a client may use: names, never paths of this machine.

A path is taken only where whoever started the server put a model up under it.
"""

from __future__ import annotations

import re

from pydantic import BaseModel, ConfigDict, StrictBool, StrictStr

from ingle.errors import IngleError
from ingle.hub.names import existing
from ingle.serve.rack import Rack

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,99}(?:/[\w.-]{1,100}){0,4}(?::[\w./-]{1,100})?", re.ASCII)
_HINT = "for example gpt-oss:20b, user/repo or hf.co/user/repo:Q4_K_M"


class NameBody(BaseModel):
    """A body that names a model, by either of the API's fields. What else it says is tolerated."""

    model_config = ConfigDict(extra="allow")

    model: StrictStr | None = None
    name: StrictStr | None = None
    verbose: StrictBool | None = None
    stream: StrictBool | None = None

    def checked(self, rack: Rack) -> str:
        """The name. Raises IngleError."""
        return checked(self.model or self.name, rack)


def checked(name: str | None, rack: Rack, where: str = "model") -> str:
    """`name`, if a client may use it. Raises IngleError."""
    if not name:
        raise IngleError(where, "it must name a model, but got none", _HINT)
    if name in rack.places:
        return name
    if not _NAME.fullmatch(name) or ".." in name or existing(name) is not None:
        raise IngleError(where, f"it must be a model's name, but got {name[:80]!r}", _HINT)
    return name
