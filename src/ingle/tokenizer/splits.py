"""Owns the pre-tokenizers: how a text is cut into pieces before merges apply inside each.

The patterns are those of the models' own tokenizer.json, not llama.cpp's approximations of them.
It does not know vocabularies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ingle.errors import UnsupportedError

if TYPE_CHECKING:
    from tokenizers.pre_tokenizers import PreTokenizer

_LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_SHORT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_BEFORE = r"[^\r\n\p{L}\p{N}]?"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"

_GPT_4O = (
    rf"{_BEFORE}{_UPPER}*{_LOWER}+{_SHORT}?|{_BEFORE}{_UPPER}+{_LOWER}*{_SHORT}?"
    rf"|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACES}"
)
_LLAMA_3 = rf"{_SHORT}|{_BEFORE}\p{{L}}+|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_SPACES}"
_QWEN_2 = rf"{_SHORT}|{_BEFORE}\p{{L}}+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_SPACES}"


@dataclass(frozen=True)
class Split:
    """One way of cutting text.

    pattern: regular expression whose matches are the pieces; None is GPT-2's own.
    single_digits: every digit is first cut out as a piece of its own.
    nfc: text is composed (Unicode NFC) before it is cut.
    ignore_merges: a piece that is a token is that token, whatever the merges say.
    adds_bos: a text starts with the bos token unless the file says otherwise.
    """

    pattern: str | None = None
    single_digits: bool = False
    nfc: bool = False
    ignore_merges: bool = False
    adds_bos: bool = False

    def build(self) -> PreTokenizer:
        """The `tokenizers` object that cuts this way and maps bytes to GPT-2's alphabet."""
        from tokenizers import Regex, pre_tokenizers

        steps: list[Any] = []
        if self.single_digits:
            steps.append(pre_tokenizers.Digits(individual_digits=True))
        if self.pattern is not None:
            steps.append(pre_tokenizers.Split(Regex(self.pattern), behavior="isolated"))
        gpt_2 = self.pattern is None
        steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=gpt_2))
        return pre_tokenizers.Sequence(steps)


SPLITS: dict[str, Split] = {
    "gpt-2": Split(),
    "smollm": Split(single_digits=True),
    "qwen2": Split(_QWEN_2, nfc=True),
    "llama-bpe": Split(_LLAMA_3, ignore_merges=True, adds_bos=True),
    "gpt-4o": Split(_GPT_4O, ignore_merges=True),
}
"""By the name in a GGUF file's ``tokenizer.ggml.pre``."""


def split_from_json(tokenizer: Mapping[str, Any]) -> Split:
    """The split that a tokenizer.json describes.

    Only the patterns of SPLITS are taken: a pattern from elsewhere may run for years.
    Raises UnsupportedError for any other.
    """
    steps = steps_of(tokenizer.get("pre_tokenizer"), "pretokenizers")
    kinds = [step.get("type") for step in steps]
    last = steps[-1] if steps else {}
    if kinds[-1:] != ["ByteLevel"] or last.get("add_prefix_space") is not False:
        raise UnsupportedError("pre_tokenizer", "it ends in ByteLevel without prefix space")
    gpt_2 = last.get("use_regex", True) is True
    if kinds == ["ByteLevel"] and gpt_2:
        split = SPLITS["gpt-2"]
    elif kinds == ["Digits", "ByteLevel"] and gpt_2 and steps[0].get("individual_digits") is True:
        split = SPLITS["smollm"]
    elif kinds == ["Split", "ByteLevel"] and not gpt_2:
        split = _split_by_pattern(steps[0])
    else:
        raise UnsupportedError("pre_tokenizer", f"steps are known ones, but got {kinds!r:.80}")
    normalizers = [
        step.get("type") for step in steps_of(tokenizer.get("normalizer"), "normalizers")
    ]
    if normalizers not in ([], ["NFC"]):
        raise UnsupportedError("normalizer", f"it is NFC or none, but got {normalizers!r:.80}")
    return replace(split, nfc=bool(normalizers))


def steps_of(node: Any, key: str) -> list[Mapping[str, Any]]:
    """The steps of a tokenizer.json's pipeline: one that stands alone, or `key` of a sequence."""
    steps = node.get(key) if isinstance(node, Mapping) and node.get("type") == "Sequence" else node
    listed = steps if isinstance(steps, list) else [] if steps is None else [steps]
    return [step if isinstance(step, Mapping) else {} for step in listed]


def _split_by_pattern(step: Mapping[str, Any]) -> Split:
    how = (step.get("behavior"), step.get("invert"))
    pattern = step.get("pattern")
    expression = pattern.get("Regex") if isinstance(pattern, Mapping) else None
    # The known patterns match every character, so what lies between matches is nothing.
    if how in (("Isolated", False), ("Removed", True)) and isinstance(expression, str):
        for split in SPLITS.values():
            if split.pattern == expression:
                return split
    rule = f"the pattern is a known one, but got {expression!r:.80}"
    raise UnsupportedError("pre_tokenizer", rule, "convert the model to GGUF and use that")
