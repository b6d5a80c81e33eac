"""Owns a model's summary as one JSON object, for `ingle inspect --json` and for programs.

Keys are stable; bytes and counts are whole numbers. It does not know how text is laid out.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ingle.formats.container import TensorInfo
from ingle.formats.gguf_strings import StringArray
from ingle.formats.summary import Summary

SHOWN_ITEMS = 6


def summary_object(summary: Summary, tensors: bool) -> dict[str, Any]:
    """The summary as JSON values; the list of tensors only when asked for."""
    vocabulary = summary.vocabulary
    found: dict[str, Any] = {
        "path": str(summary.path),
        "container": summary.container,
        "layout": summary.facts.layout,
        "files": [str(file) for file in summary.files],
        "file_bytes": summary.file_bytes,
        "architecture": summary.facts.architecture,
        "name": summary.facts.name,
        "num_parameters": summary.num_parameters,
        "num_active_parameters": summary.num_active_parameters,
        "weights_bytes": summary.weights_bytes,
        "bits_per_weight": round(summary.bits_per_weight, 4),
        "sizes": dict(summary.facts.sizes),
        "formats": [
            {
                "format": share.format,
                "num_tensors": share.num_tensors,
                "num_weights": share.num_weights,
                "bytes": share.nbytes,
                "bits_per_weight": round(share.bits_per_weight, 4),
            }
            for share in summary.shares
        ],
        "vocabulary": vocabulary
        and {
            "kind": vocabulary.kind,
            "num_tokens": vocabulary.num_tokens,
            "num_merges": vocabulary.num_merges,
            "special": {
                role: {"id": token_id, "text": text}
                for role, (token_id, text) in vocabulary.special.items()
            },
            "template_characters": vocabulary.template_characters,
        },
        "metadata": {key: _json_value(value) for key, value in summary.metadata.items()},
        "num_tensors": len(summary.tensors),
        "runs": not summary.problems,
        "problems": list(summary.problems),
    }
    if tensors:
        found["tensors"] = [_tensor_object(tensor) for tensor in summary.tensors]
    return found


def _tensor_object(tensor: TensorInfo) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "format": tensor.format,
        "shape": list(tensor.shape),
        "bytes": tensor.nbytes,
        "bits_per_weight": round(tensor.bits_per_weight, 4),
        "file": tensor.path.name,
        "offset": tensor.offset,
    }


def _json_value(value: Any) -> Any:
    """Arrays are told by their length and first items; what JSON cannot say is null."""
    if isinstance(value, StringArray):
        first = [
            value.raw(i).decode("utf-8", "replace") for i in range(min(len(value), SHOWN_ITEMS))
        ]
        return {"strings": len(value), "first": first}
    if isinstance(value, np.ndarray):
        first = [_json_value(item) for item in value[:SHOWN_ITEMS].tolist()]
        return {"type": str(value.dtype), "count": value.size, "first": first}
    if isinstance(value, tuple):
        return {"arrays": len(value), "first": [_json_value(item) for item in value[:SHOWN_ITEMS]]}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
