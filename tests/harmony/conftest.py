"""Harmony's oracle: openai-harmony, fed from the vocabulary that comes with ingle."""

from __future__ import annotations

import base64
import gzip
import json
import warnings
from pathlib import Path
from typing import Any

import pytest

from ingle.tokenizer.o200k import NUM_ORDINARY, ordinary_tokens

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="session")
def vectors() -> dict[str, Any]:
    """What openai-harmony 0.0.8 renders and parses: see harmony_vectors.py for their making."""
    with gzip.open(GOLDEN / "harmony_vectors.json.gz", "rt", encoding="utf-8") as file:
        found: dict[str, Any] = json.load(file)
    return found


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """openai-harmony's encoding of gpt-oss; it would otherwise download the vocabulary."""
    folder = tmp_path_factory.mktemp("encodings")
    table = ordinary_tokens()
    lines = (b"%s %d\n" % (base64.b64encode(table[i]), i) for i in range(NUM_ORDINARY))
    (folder / "o200k_base.tiktoken").write_bytes(b"".join(lines))
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydantic's own
        patch.setenv("TIKTOKEN_ENCODINGS_BASE", str(folder))
        import openai_harmony

        return openai_harmony.load_harmony_encoding("HarmonyGptOss")
