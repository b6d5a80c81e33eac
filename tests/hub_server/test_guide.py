"""Every command of the guide is run as it stands, against a hub on this machine."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from ingle import config
from ingle.hub.choice import PREFERRED
from ingle.hub.modelfile import PARAMETERS

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "guide"
TINY = ROOT / "tests" / "golden" / "tiny_gpt_oss" / "llama_cpp.gguf"


@pytest.fixture
def program(hub_server: Any, ingle: Any, home: Path) -> Any:
    tiny = TINY.read_bytes()
    hub_server.add("ggml-org/gpt-oss-20b-GGUF", {"gpt-oss-20b-mxfp4.gguf": tiny})
    hub_server.add("someone/tiny-GGUF", {"tiny-Q8_0.gguf": tiny, "tiny-Q4_K_M.gguf": b"GGUF"})
    ingle.env |= {
        "HOME": str(home),
        "USERPROFILE": str(home),
        "HF_HOME": str(home / "hf"),
        "HF_ENDPOINT": hub_server.url,
        "NO_PROXY": "127.0.0.1,localhost",
        "INGLE_OFFLINE": "",
        "HF_HUB_OFFLINE": "",
        "INGLE_HOME": str(home / ".ingle"),
        "INGLE_MODELS": "",
    }
    return ingle


@pytest.mark.parametrize("page", ["install.md", "models.md"])
def test_commands_of_the_guide_work(program: Any, home: Path, page: str) -> None:
    text = (GUIDE / page).read_text(encoding="utf-8")
    for said in re.findall(r"^```\n# Modelfile\n(.*?)^```", text, re.S | re.M):
        (home / "Modelfile").write_text(said)
    commands = re.findall(r"^\$ ingle (.*)$", text, re.M)
    assert commands
    for command in commands:
        ended = program(*shlex.split(command))
        assert ended.code == 0, f"ingle {command}: {ended.err}"


def test_the_guide_names_every_setting() -> None:
    text = (GUIDE / "install.md").read_text(encoding="utf-8")
    for setting in config.SETTINGS:
        assert not setting.in_file or f"| `{setting.name}` |" in text
        assert all(f"`{variable}`" in text for variable in setting.variables)


def test_the_guide_tells_the_rule_as_it_is() -> None:
    text = (GUIDE / "models.md").read_text(encoding="utf-8")
    rule = text[text.index("3. Else the first of") : text.index("4. Else")]
    assert re.findall(r"`(\w+)`", rule) == [quant for quant in PREFERRED if quant != "FP16"]


def test_the_guide_names_every_parameter_of_a_modelfile() -> None:
    text = (GUIDE / "models.md").read_text(encoding="utf-8")
    told = text[text.index("Parameters:") :].split("##")[0]
    ours = {PARAMETERS[name][0] for name in re.findall(r"`(\w+)`", told)}
    assert ours == {name for name, _ in PARAMETERS.values()}
