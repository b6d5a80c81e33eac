"""The page of plans under a keyboard, and what it tells those who cannot see it: a real browser.

Skipped where playwright or a browser is missing; neither is needed to build or to use ingle.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from ingle.plan.page import page

SHEET = resources.files("ingle.plan").joinpath("page.html").read_text(encoding="utf-8")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip("no chromium is installed")
    with api.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def shown(browser: Any, tmp_path: Path) -> Iterator[Any]:
    path = tmp_path / "plan.html"
    path.write_text(page(), encoding="utf-8")
    tab = browser.new_page()
    faults: list[str] = []
    tab.on("pageerror", lambda error: faults.append(str(error)))
    tab.goto(path.as_uri())
    yield tab
    assert not faults
    tab.close()


def focused(tab: Any) -> str:
    return str(tab.evaluate("document.activeElement.id || document.activeElement.tagName"))


def test_tab_goes_through_every_control_in_order(shown: Any) -> None:
    order = []
    for _ in range(6):
        shown.keyboard.press("Tab")
        order.append(focused(shown))
    assert order == ["model", "quant", "machine", "context", "batch", "SUMMARY"]


def test_arrow_keys_move_the_plan(shown: Any) -> None:
    verdict, context = shown.locator("#verdict"), shown.locator("#context")
    before = verdict.inner_text()
    context.focus()
    shown.keyboard.press("End")
    assert context.get_attribute("aria-valuetext") == "128k tokens"
    assert verdict.inner_text() != before
    shown.keyboard.press("ArrowLeft")
    assert context.get_attribute("aria-valuetext") == "125k tokens"
    shown.keyboard.press("Home")
    assert context.get_attribute("aria-valuetext") == "1k tokens"
    shown.locator("#batch").focus()
    shown.keyboard.press("ArrowRight")
    assert shown.locator("#batch").get_attribute("aria-valuetext") == "2 sequences"


def test_the_bar_is_told_in_words_and_as_a_table(shown: Any) -> None:
    label = shown.locator("#bar").get_attribute("aria-label")
    names = shown.locator("#categories th").all_inner_texts()
    sizes = shown.locator("#categories td.n:nth-child(2)").all_inner_texts()
    assert len(names) == len(sizes) > 5
    for name, size in zip(names, sizes, strict=True):
        assert f"{name} {size}" in label
    assert shown.locator("#verdict").get_attribute("role") == "status"


def test_sources_open_with_the_keyboard(shown: Any) -> None:
    shown.locator("summary").focus()
    assert not shown.locator("#sources li").first.is_visible()
    shown.keyboard.press("Enter")
    assert shown.locator("#sources li").first.is_visible()


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_no_width_scrolls_sideways(shown: Any, width: int) -> None:
    shown.set_viewport_size({"width": width, "height": 800})
    assert shown.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_follow_the_system(shown: Any, scheme: str) -> None:
    shown.emulate_media(color_scheme=scheme)
    paper = shown.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = sum(int(part) for part in re.findall(r"\d+", paper)[:3])
    assert (brightness > 600) == (scheme == "light")


# --- without a browser ---


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb (WCAG 2.1)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("theme", [0, 1])
@pytest.mark.parametrize("name", ["ink", "soft", "good", "bad"])
def test_text_is_readable_on_its_ground(theme: int, name: str) -> None:
    """4.5 to 1 at least (WCAG 2.1, 1.4.3), in the light and the dark theme."""
    blocks = re.findall(r":root \{([^}]*)\}", SHEET)
    colours = dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6})", blocks[theme]))
    assert contrast(colours[name], colours["paper"]) >= 4.5
    assert contrast(colours["focus"], colours["paper"]) >= 3
