"""Constraints: answers held to a JSON Schema, a regular expression or a grammar, id by id.

Grammars are llguidance's. It does not know which chat format an answer stands in.
"""

from ingle.chat.constraint.bits import bits_of
from ingle.chat.constraint.cost import Cost
from ingle.chat.constraint.grammar import Grammar
from ingle.chat.constraint.matcher import GrammarConstraint
from ingle.chat.constraint.vocabulary import GrammarVocabulary

__all__ = ["Cost", "Grammar", "GrammarConstraint", "GrammarVocabulary", "bits_of"]
