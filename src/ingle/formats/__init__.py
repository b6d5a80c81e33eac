"""Owns containers of tensors: GGUF and safetensors, read lazily and written streaming."""

from ingle.formats.container import Container, TensorInfo
from ingle.formats.detect import open_container
from ingle.formats.gguf import GgufFile
from ingle.formats.gguf_strings import StringArray
from ingle.formats.safetensors import SafetensorsFile

__all__ = [
    "Container",
    "GgufFile",
    "SafetensorsFile",
    "StringArray",
    "TensorInfo",
    "open_container",
]
