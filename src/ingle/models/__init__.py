"""Owns architectures, one file each: config, tensor names, embed / layer / head."""

from ingle.models.architecture import ARCHITECTURES, load_model

__all__ = ["ARCHITECTURES", "load_model"]
