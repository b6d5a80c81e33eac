"""Owns turning the wishes for a format and for brief reasoning into a constraint of one answer.

The grammars' library loads at the first wish for one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ingle.errors import IngleError, UnsupportedError
from ingle.tokenizer import Tokenizer, o200k_harmony

if TYPE_CHECKING:
    from ingle.chat.answer_format import AnswerFormat
    from ingle.chat.constraint import GrammarConstraint
    from ingle.chat.tools import ToolChoice
    from ingle.llm.dialect import Wishes
    from ingle.ops import TokenConstraint

_ANSWER_SHARE = 4  # of max_tokens, one in so many is kept for the answer


def answer_format(wish: Any) -> AnswerFormat | None:
    """The format that `wish` means. Raises IngleError; UnsupportedError if it cannot be kept."""
    if wish is None:
        return None
    from ingle.chat.answer_format import AnswerFormat

    return AnswerFormat.of(wish)


def held_to(tokenizer: Tokenizer, wish: AnswerFormat | None) -> GrammarConstraint | None:
    """A constraint for text in a format from its first token on."""
    if wish is None:
        return None
    from ingle.chat.constraint import GrammarConstraint, GrammarVocabulary

    return GrammarConstraint(GrammarVocabulary.of(tokenizer), wish.grammar)


def template_constraint(
    tokenizer: Tokenizer,
    template: str,
    prompt_end: str,
    wish: AnswerFormat | None,
    budget: int | None = None,
    max_tokens: int | None = None,
    choice: ToolChoice | None = None,
) -> TokenConstraint | None:
    """A constraint for the reply to a prompt that a chat template made; None where none is needed.

    budget: of tokens of reasoning, see `allowance`. choice: of tools, whose calls are held to
    them; a format is then for replies that call nothing. Raises UnsupportedError for a budget
    where the model does not mark its reasoning by tokens.
    """
    has_tools = choice is not None and bool(choice.tools)
    if wish is None and budget is None and not has_tools:
        return None
    from ingle.chat.constraint.thinking import ThinkingConstraint, ThinkingTokens, place_of

    tokens = ThinkingTokens.of(tokenizer) if "<think>" in template else None
    calls = choice if has_tools else None
    held = held_to(tokenizer, wish) if calls is None else _held_to_calls(tokenizer, calls, wish)
    if tokens is not None:
        most = allowance(budget, max_tokens, len(tokens.closing))
        return ThinkingConstraint(tokenizer, tokens, held, place_of(prompt_end), most)
    if budget is not None:
        rule = f"the model must mark its reasoning by tokens of its own, but got a budget: {budget}"
        raise UnsupportedError(
            "reasoning_budget", rule, "leave it out; max_tokens limits the whole"
        )
    return held


def harmony_constraint(
    wishes: Wishes, reasons: bool, opened: tuple[int, ...]
) -> TokenConstraint | None:
    """A constraint for a reply of gpt-oss; None where none is needed.

    reasons: whether analysis may come; opened: ids that the prompt ends in after the role. Tools
    that are declared are the only ones that may be called. Raises UnsupportedError for schemas
    that cannot be enforced; of tools, for those that were declared strict.
    """
    choice = wishes.choice
    if wishes.format is None and wishes.budget is None and choice is None:
        return None
    from ingle.chat.harmony.constraint import HarmonyConstraint, TurnRules
    from ingle.chat.harmony.tokens import ANALYSIS, COMMENTARY, FINAL

    mode = "auto" if choice is None else choice.mode
    channels = (
        *([ANALYSIS] if reasons or opened else []),
        *([COMMENTARY] if mode == "auto" else []),
        *([FINAL] if mode != "required" else []),
    )
    rules = TurnRules(
        channels,
        {f"functions.{tool.name}": tool.grammar for tool in (choice.tools if choice else ())},
        None if wishes.format is None else wishes.format.grammar,
    )
    budget = allowance(wishes.budget, wishes.max_tokens, rules.num_closing_ids)
    return HarmonyConstraint(o200k_harmony(), replace(rules, budget=budget), opened)


def _held_to_calls(
    tokenizer: Tokenizer, choice: ToolChoice, wish: AnswerFormat | None
) -> GrammarConstraint:
    from ingle.chat.constraint import Grammar, GrammarConstraint, GrammarVocabulary
    from ingle.chat.tools.written import CLOSE, OPEN, grammar_source

    if wish is not None and choice.mode == "auto":
        rule = "this model's answers are held to calls or to a format, but got tools and a format"
        raise UnsupportedError("format", rule, 'say tool_choice="none" once the calls are made')
    marks = [tokenizer.special_tokens.get(mark) for mark in (OPEN, CLOSE)]
    ids = None if marks[0] is None or marks[1] is None else (marks[0], marks[1])
    grammar = Grammar.trusted_lark(grammar_source(choice, ids), "tools")
    return GrammarConstraint(GrammarVocabulary.of(tokenizer), grammar)


def allowance(budget: int | None, max_tokens: int | None, num_closing: int) -> int | None:
    """Tokens of reasoning, so that a quarter of `max_tokens` is left for the answer; None: any.

    num_closing: ids that close the reasoning and open the answer. Raises IngleError where they
    alone would take all of it.

    >>> allowance(100, 64, 7)
    41
    """
    if budget is None:
        return None
    if isinstance(budget, bool) or not isinstance(budget, int) or budget < 0:
        rule = f"the budget must be a whole number, 0 or more, but got {budget!r:.60}"
        raise IngleError("reasoning_budget", rule)
    if max_tokens is None:
        return budget
    if max_tokens <= num_closing:
        rule = f"with a reasoning budget it must be above {num_closing}, but got {max_tokens}"
        raise IngleError("max_tokens", rule, "closing the reasoning takes that many")
    answer = -(-max_tokens // _ANSWER_SHARE)
    return max(0, min(budget, max_tokens - num_closing - answer))


def of_spec(tokenizer: Tokenizer, spec: Any) -> TokenConstraint | None:
    """A constraint that a capture tells of by its `spec`. Raises IngleError for what is none."""
    if spec is None:
        return None
    from ingle.chat.constraint import Grammar, GrammarConstraint, GrammarVocabulary
    from ingle.chat.constraint.thinking import Place, ThinkingConstraint, ThinkingTokens
    from ingle.chat.harmony.constraint import HarmonyConstraint, TurnRules

    try:
        if spec["kind"] == "harmony":
            rules = TurnRules.of_spec(spec["rules"])
            return HarmonyConstraint(tokenizer, rules, tuple(spec["opened"]))
        grammar = spec if spec["kind"] == "grammar" else spec["answer"]
        held = None
        if grammar is not None:
            vocabulary = GrammarVocabulary.of(tokenizer)
            held = GrammarConstraint(vocabulary, Grammar.of_spec(grammar["grammar"]))
        if spec["kind"] == "grammar":
            return held
        tokens = ThinkingTokens.of(tokenizer)
        assert tokens is not None
        return ThinkingConstraint(tokenizer, tokens, held, Place(spec["place"]), spec["budget"])
    except (AssertionError, AttributeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, IngleError):
            raise
        rule = f"it must be a constraint's spec, but got {spec!r:.80}"
        raise IngleError("constraint", rule) from None
