"""Owns checkpoints of the true shapes with random weights: for measuring, testing and planning."""

from ingle.formats.synth.job import synthesize
from ingle.formats.synth.planned import LAYOUTS, PlannedModel, plan
from ingle.formats.synth.shapes import NAMES

__all__ = ["LAYOUTS", "NAMES", "PlannedModel", "plan", "synthesize"]
