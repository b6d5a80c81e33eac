"""docs/cli.md is what the command line says of itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import ingle

ROOT = Path(__file__).parent.parent.parent


def test_the_reference_is_not_stale() -> None:
    ended = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "docs-cli"), "--check"],
        env={**os.environ, "PYTHONPATH": str(Path(ingle.__file__).parent.parent)},
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
