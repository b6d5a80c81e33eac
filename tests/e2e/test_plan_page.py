"""The page of plans: the same sums as Python's, run where pages run; nothing from outside."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from ingle.formats.synth import synthesize
from ingle.plan.anatomy import anatomy
from ingle.plan.hardware import find
from ingle.plan.kernels import ATTENTION, WINDOWED, Kernel, Kernels
from ingle.plan.local import machine_of
from ingle.plan.memory import plan_memory
from ingle.plan.page import CONTEXTS, coefficients, page
from ingle.plan.rates import Rates
from ingle.plan.speed import forecast
from ingle.plan.subject import open_subject

NODE = shutil.which("node")
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)

# A machine whose kernels were measured, as `ingle doctor --measure` leaves it; one is missing.
LOCAL = machine_of(
    Rates(
        40e9,
        2e12,
        1e9,
        Kernels(
            {
                "F32": Kernel(11e9, 0.13e12, 1e9),
                "BF16": Kernel(12e9, 0.14e12, 0.0),
                "Q8_0": Kernel(20e9, 0.6e12, 2e9),
                "MXFP4 experts": Kernel(26e9, 0.5e12, 0.6e9),
                ATTENTION: Kernel(12e9, 0.11e12),
                WINDOWED: Kernel(13e9, 0.08e12),
            },
            layer_s=2e-6,
            step_s=3e-4,
        ),
    ),
    24 << 30,
)
GRID = [
    (model, quant, machine, context, batch)
    for model, quant in (
        ("gpt-oss:20b", "MXFP4+Q8_0"),
        ("gpt-oss:120b", "MXFP4+BF16"),
        ("qwen3:30b-a3b", "Q8_0"),
        ("qwen3:0.6b", "BF16"),
        ("gpt2:xl", "Q4_0"),
        ("llama3.1:70b", "Q4_1"),
    )
    for machine in ("RTX 4090", "H100", "M4 Max", "Core i7-11700K", LOCAL.name)
    for context in (1, 65, 640, 1000, *CONTEXTS)
    for batch in (1, 3, 64)
]

_COMPUTE = """
const answer = grid.map(([model, quant, name, context, batch]) => {
  const machine = table.machines.find((m) => m.name === name);
  const variants = table.models.find((m) => m.name === model).variants[quant];
  const chosen = variants[machine.kind === "cpu" ? "cpu" : "gpu"];
  if (context > chosen.max_context_tokens) return null;
  const categories = ingle.memory(table, chosen, context, batch);
  const speed = ingle.forecast(table, chosen, machine, context, batch);
  return [categories, ingle.total(categories), speed];
});
"""


def script(output: str) -> str:
    """The page's own arithmetic over the grid, then `output` with `answer`."""
    sums = resources.files("ingle.plan").joinpath("page.js").read_text(encoding="utf-8")
    given = f"const table = {json.dumps(coefficients((), LOCAL))}, grid = {json.dumps(GRID)};"
    return f"{sums}\n{given}\n{_COMPUTE}\n{output}"


def dom(text: str, tmp_path: Path) -> str:
    """The document of a page after its scripts have run."""
    path = tmp_path / "page.html"
    path.write_text(text, encoding="utf-8")
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", path.as_uri()]
    ended = subprocess.run(command, capture_output=True, timeout=120)
    assert ended.returncode == 0, ended.stderr.decode(errors="replace")
    return ended.stdout.decode()


def run_grid(tmp_path: Path) -> list[Any]:
    if NODE:
        path = tmp_path / "grid.js"
        path.write_text(script("console.log(JSON.stringify(answer));"), encoding="utf-8")
        ended = subprocess.run([NODE, str(path)], capture_output=True, timeout=120)
        assert ended.returncode == 0, ended.stderr.decode()
        return list(json.loads(ended.stdout))
    if not CHROMIUM:
        pytest.skip("neither node nor chromium is installed")
    output = "document.title = 'done'; document.body.textContent = JSON.stringify(answer);"
    text = dom(f"<!doctype html><body><script>{script(output)}</script></body>", tmp_path)
    match = re.search(r"<body>(.*)</body>", text, re.DOTALL)
    assert match is not None
    return list(json.loads(match[1]))


def test_the_page_computes_what_python_computes(tmp_path: Path) -> None:
    answers = run_grid(tmp_path)
    assert len(answers) == len(GRID)
    compared = 0
    for (name, quant, on, context, batch), answer in zip(GRID, answers, strict=True):
        machine = LOCAL if on == LOCAL.name else find(on)
        model = _anatomy(name, quant, machine.gpu)
        if context > model.max_context_tokens:
            assert answer is None
            continue
        plan = plan_memory(model, context, batch)
        assert answer[0] == dict(plan.categories)
        assert answer[1] == plan.total_bytes
        speed = vars(forecast(model, machine, context, batch))
        assert answer[2] == pytest.approx({key: speed[key] for key in answer[2]}, rel=1e-12)
        compared += 1
    assert compared > 1000


_ANATOMIES: dict[tuple[str, str, bool], Any] = {}


def _anatomy(name: str, quant: str, gpu: bool) -> Any:
    key = (name, quant, gpu)
    if key not in _ANATOMIES:
        _ANATOMIES[key] = anatomy(open_subject(name, quant), gpu)
    return _ANATOMIES[key]


class _Elements(HTMLParser):
    """Elements with their attributes, and the text of scripts apart."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_page_loads_nothing() -> None:
    text = page()
    elements = _Elements(text).found
    assert not [attrs for _, attrs in elements if {"src", "href", "action"} & attrs.keys()]
    for word in ("@import", "url(", "fetch(", "XMLHttpRequest", "http:", "https:"):
        assert word not in text
    assert len(text) < 400_000


def test_every_control_has_a_label() -> None:
    elements = _Elements(page()).found
    controls = {attrs["id"] for tag, attrs in elements if tag in ("select", "input")}
    labelled = {attrs["for"] for tag, attrs in elements if tag == "label"}
    assert controls == labelled == {"model", "quant", "machine", "context", "batch"}
    assert any(attrs.get("aria-live") for _, attrs in elements)
    assert ("html", {"lang": "en"}) in elements


def test_a_file_of_any_name_is_shown_as_text(tmp_path: Path) -> None:
    named = tmp_path / "<b>model"
    synthesize("tiny-gpt-oss", named, layout="hf")
    text = page([open_subject(str(named))])
    assert "<b>model" not in text
    assert "\\u003cb>model" in text


@pytest.mark.skipif(not CHROMIUM, reason="chromium is not installed")
def test_dragging_moves_everything(tmp_path: Path) -> None:
    steps = """
<script>
const told = [];
const tell = () => told.push([$("verdict").textContent, $("context-value").textContent,
  [...$("bar").children].map((part) => part.style.width).join(" "), $("machines").children.length]);
tell();
$("context").value = $("context").max; $("context").dispatchEvent(new Event("input")); tell();
$("model").value = 1; $("model").dispatchEvent(new Event("change")); tell();
$("batch").value = 6; $("batch").dispatchEvent(new Event("input")); tell();
document.body.dataset.told = JSON.stringify(told);
</script></body>"""
    text = dom(page().replace("</body>", steps), tmp_path)
    match = re.search(r'data-told="([^"]*)"', text)
    assert match is not None
    told = json.loads(match[1].replace("&quot;", '"').replace("&amp;", "&"))
    assert told[0][0] == "13.3 GB fits RTX 4080 with 17.2 GB"
    assert (told[0][1], told[1][1]) == ("8k tokens", "128k tokens")
    assert told[1][0] == "16.3 GB fits RTX 4080 with 17.2 GB"
    assert "does not fit" in told[2][0] and "does not fit" in told[3][0]
    assert len({step[2] for step in told}) == 4
    machines = [step[3] for step in told]
    assert machines[0] >= machines[1] > machines[2] > machines[3] > 0


def test_the_program_writes_the_page(ingle: Any) -> None:
    ingle("synth", "tiny-llama", "mine.gguf")
    ended = ingle("plan", "mine.gguf", "--html", "plan.html")
    assert (ended.code, ended.out) == (0, "plan.html\n")
    text = (ingle.folder / "plan.html").read_text(encoding="utf-8")
    assert "tiny-llama of random weights" in text and "this machine" in text
    assert ingle("plan").code == 2
