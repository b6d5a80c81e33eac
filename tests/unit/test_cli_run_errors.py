"""docs/guide/errors.md tells mistakes as they print: its commands are run, their words compared."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import ingle

PAGE = Path(__file__).parent.parent.parent / "docs" / "guide" / "errors.md"
BLOCK = re.compile(r"(?:<!-- (.*?) -->\n)?```console\n(.*?)```", re.DOTALL)
BLOCKS = [(note or "", block) for note, block in BLOCK.findall(PAGE.read_text())]
RUN = [(note, block) for note, block in BLOCKS if not note.startswith("not run")]

pytestmark = pytest.mark.skipif(os.name != "posix", reason="its commands are for a POSIX shell")


@pytest.mark.parametrize(("note", "block"), RUN, ids=[block.split("\n")[0] for _, block in RUN])
def test_a_mistake_prints_as_the_page_says(
    note: str, block: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    env = {
        **os.environ,
        "INGLE_HOME": str(tmp_path / "home"),
        "PYTHONPATH": str(Path(ingle.__file__).parent.parent),
        "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
    }
    if note == "needs smollm2:135m":
        path: Path = request.getfixturevalue("smollm2_path")
        env["INGLE_MODELS"] = str(path.parent.parent)
    write_program(tmp_path / "bin" / "ingle")
    if "model.gguf" in block:
        synth = ["ingle", "synth", "tiny-llama", "model.gguf"]
        subprocess.run(synth, cwd=tmp_path, env=env, check=True, capture_output=True)
    commands = [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ")]
    expected = "".join(line + "\n" for line in block.splitlines() if not line.startswith("$ "))
    ended = subprocess.run(
        ["sh", "-c", "\n".join(commands)],
        cwd=tmp_path,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
    )
    assert (ended.returncode, ended.stdout) == (2, b"")
    assert ended.stderr.decode() == expected


def write_program(path: Path) -> None:
    path.parent.mkdir()
    shell = shutil.which("sh")
    path.write_text(f'#!{shell}\nexec {sys.executable} -m ingle.cli "$@"\n')
    path.chmod(0o755)


def test_the_page_tells_of_at_least_ten_mistakes() -> None:
    assert len(BLOCKS) >= 10 and len(RUN) >= 8
