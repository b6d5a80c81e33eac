"""Owns the pre-tokenizers: how a text is cut into pieces before merges apply inside each.

The patterns are those of the models' own tokenizer.json, not llama.cpp's approximations of them.
It does not know vocabularies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
