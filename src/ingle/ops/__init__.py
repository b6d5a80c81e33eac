"""Owns the vocabulary between a model and a backend: operations, shapes, batches, KV layout."""

from ingle.ops.batch import Batch, KvStore, KvView
from ingle.ops.protocol import Backend, Linear, Model, Norm, Ops
from ingle.ops.shape import PAGE_TOKENS, AttentionShape, KvLayout, RopeTable, Weight, WeightMeta

__all__ = [
    "PAGE_TOKENS",
    "AttentionShape",
    "Backend",
    "Batch",
    "KvLayout",
    "KvStore",
    "KvView",
    "Linear",
    "Model",
    "Norm",
    "Ops",
    "RopeTable",
    "Weight",
    "WeightMeta",
]
