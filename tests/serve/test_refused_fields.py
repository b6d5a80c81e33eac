"""What would change an answer and cannot be done is refused by its name, and not left out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

PATHS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "x"}]},
    "/v1/completions": {"prompt": "x", "max_tokens": 1},
    "/v1/responses": {"input": "x"},
}
EVERYWHERE: list[tuple[str, Any]] = [
    *(("min_tokens", 5), ("ignore_eos", True), ("bad_words", ["no"]), ("prompt_logprobs", 0)),
    *(("mirostat", 2), ("xtc_probability", 0.5), ("dry_multiplier", 0.8), ("tfs_z", 0.5)),
    *(("modalities", ["audio"]), ("modalities", ["text", "audio"]), ("repeat_last_n", 8)),
    *(("json_schema", {"type": "object"}), ("json_schema", {}), ("guided_regex", "a+")),
    *(("guided_json", {}), ("truncate_prompt_tokens", 4), ("use_beam_search", True)),
]
IN_CHAT: list[tuple[str, Any]] = [
    *(("chat_template", "{{ x }}"), ("add_generation_prompt", False)),
    *(("continue_final_message", True), ("web_search_options", {}), ("audio", {})),
    *(("functions", [{"name": "f"}]), ("function_call", {"name": "f"}), ("echo", True)),
]
IN_RESPONSES: list[tuple[str, Any]] = [
    *(("response_format", {"type": "json_object"}), ("n", 2), ("background", True)),
    *(("conversation", "conv_1"), ("prompt", {"id": "x"})),
]
NEUTRAL: dict[str, Any] = {
    **{"min_tokens": 0, "ignore_eos": False, "bad_words": [], "prompt_logprobs": None},
    **{"mirostat": 0, "mirostat_tau": 5.0, "xtc_probability": 0, "xtc_threshold": 0.1},
    **{"dry_multiplier": 0.0, "dry_base": 1.75, "tfs_z": 1.0, "repeat_last_n": 64},
    **{"modalities": ["text"], "json_schema": None, "grammar": "", "min_p": 0},
}
NEUTRAL_IN_CHAT: dict[str, Any] = {
    **{"add_generation_prompt": True, "continue_final_message": False, "chat_template": None},
    **{"web_search_options": None, "functions": [], "function_call": "auto"},
}


def post(ask: Callable[..., Any], path: str, **more: Any) -> Any:
    async def run() -> Any:
        async with ask() as http:
            return await http.post(path, json={"model": "scripted"} | PATHS[path] | more)

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("path", "name", "value"),
    [
        *((path, *one) for path in PATHS for one in EVERYWHERE),
        *(("/v1/chat/completions", *one) for one in IN_CHAT),
        *(("/v1/responses", *one) for one in IN_RESPONSES),
    ],
)
def test_a_field_that_cannot_be_followed_is_refused(
    ask: Callable[..., Any], path: str, name: str, value: Any
) -> None:
    answer = post(ask, path, **{name: value})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, name)


@pytest.mark.parametrize("path", PATHS)
def test_values_that_change_nothing_pass(ask: Callable[..., Any], path: str) -> None:
    more = NEUTRAL | (NEUTRAL_IN_CHAT if "chat" in path else {})
    answer = post(ask, path, **more)
    assert answer.status_code == 200, answer.text
