"""Owns the vocabulary between a model and a backend: operations, shapes, batches, KV layout."""

from ingle.ops.batch import Batch, KvStore, KvView
from ingle.ops.constraint import TokenConstraint
from ingle.ops.kv_type import KV_DTYPES, USUAL_KV_TYPE, KvArray, kept, kv_dtype
from ingle.ops.protocol import (
    Activation,
    Backend,
    Experts,
    Linear,
    Model,
    Moe,
    Norm,
    Ops,
    PrimitiveOps,
    Rotation,
    Routing,
    ScannedHead,
    X,
)
from ingle.ops.shape import PAGE_TOKENS, AttentionShape, KvLayout, RopeTable, Weight, WeightMeta

__all__ = [
    "KV_DTYPES",
    "PAGE_TOKENS",
    "USUAL_KV_TYPE",
    "Activation",
    "AttentionShape",
    "Backend",
    "Batch",
    "Experts",
    "KvArray",
    "KvLayout",
    "KvStore",
    "KvView",
    "Linear",
    "Model",
    "Moe",
    "Norm",
    "Ops",
    "PrimitiveOps",
    "RopeTable",
    "Rotation",
    "Routing",
    "ScannedHead",
    "TokenConstraint",
    "Weight",
    "WeightMeta",
    "X",
    "kept",
    "kv_dtype",
]
