"""Owns the ids of Harmony's marks in o200k_harmony, the vocabulary of gpt-oss."""

from __future__ import annotations

STARTOFTEXT = 199_998
ENDOFTEXT = 199_999
RETURN = 200_002
CONSTRAIN = 200_003
CHANNEL = 200_005
START = 200_006
END = 200_007
MESSAGE = 200_008
CALL = 200_012

FIRST_SPECIAL = 199_998
VOCAB_SIZE = 201_088

ENDS = frozenset({END, RETURN, CALL})
"""What ends a message. Generation goes on after END."""
STOPS = frozenset({RETURN, CALL, ENDOFTEXT})
"""What ends a generation."""

CONSTRAIN_TEXT = "<|constrain|>"
ANALYSIS, COMMENTARY, FINAL = CHANNELS = ("analysis", "commentary", "final")
