"""Owns measuring how good a model's predictions are: perplexity and divergence on given text."""

from ingle.evaluate.score import Evaluation, Summary, evaluate
from ingle.evaluate.subject import Subject

__all__ = ["Evaluation", "Subject", "Summary", "evaluate"]
