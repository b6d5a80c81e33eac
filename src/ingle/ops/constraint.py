"""Owns what sampling asks of a constraint: which tokens may come next. Others implement it.

It does not know grammars, text or how a token is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class TokenConstraint(Protocol):
    """What one answer may say, token by token. It holds the state of a single generation."""

    def mask(self) -> NDArray[np.uint8] | None:
        """Bits of the ids that may come next, id i at bit i % 8 of byte i // 8; None: any id.

        Ids beyond its end may not come. It is valid until the next `advance`. Raises IngleError
        where the constraint cannot go on.
        """

    def advance(self, token_id: int) -> None:
        """`token_id`, which the mask allowed, was said."""

    def forced(self) -> Sequence[int]:
        """The ids that must come next, one after the other; empty where there is a choice."""
