"""Owns telling containers apart by their content, whatever they are called.

It does not know what is inside a container.
"""

from __future__ import annotations

from pathlib import Path

from ingle.errors import FileFormatError, UnsupportedError
from ingle.formats.gguf import GgufFile
from ingle.formats.gguf_header import MAGIC
from ingle.formats.mapping import FileMap, quoted
from ingle.formats.packed.file import PackedFile, is_packed
from ingle.formats.safetensors import INDEX_SUFFIX, SafetensorsFile

_ZIP, _PICKLE = b"PK\x03\x04", b"\x80\x02"


def open_container(path: str | Path) -> GgufFile | SafetensorsFile:
    """Open a GGUF file (any part of a split one), a safetensors file or index, a packed file, or a
    model folder.

    Raises FileFormatError when it is none of them or damaged, UnsupportedError when it is a kind
    that is known and not read.
    """
    path = Path(path)
    if path.is_dir():
        return _open_folder(path)
    if path.name.endswith(INDEX_SUFFIX):
        return SafetensorsFile.open(path)
    file = FileMap(path)
    start = bytes(file.slice(0, 16))
    if start.startswith(MAGIC):
        return GgufFile.open(path)
    if start[8:9] == b"{":
        stored = SafetensorsFile.open(path)
        return PackedFile(stored) if is_packed(stored) else stored
    if start.startswith((_ZIP, _PICKLE)):
        raise UnsupportedError(
            file.where(""),
            "model must be GGUF or safetensors, but got a zip archive or Python pickle",
            "unpack it, or save the model as safetensors; pickles can run code and are not read",
        )
    if not file.size:
        file.fail("", "file must be GGUF or safetensors, but it is empty")
    rule = f"file must be GGUF or safetensors, but it starts with {quoted(start[:8])}"
    file.fail("", rule, "name a model's file or folder; this is none, or a damaged one")


def _open_folder(folder: Path) -> GgufFile | SafetensorsFile:
    if any(folder.glob("*.safetensors")) or any(folder.glob("*" + INDEX_SUFFIX)):
        return SafetensorsFile.open(folder)
    files = sorted(folder.glob("*.gguf"))
    if files:
        model = GgufFile.open(files[0])
        others = [file.name for file in files if file not in model.files]
        if not others:
            return model
        raise FileFormatError(
            str(folder),
            f"folder must hold one model, but got {quoted(files[0].name)} and {quoted(others[0])}",
            "give the path of one file",
        )
    raise FileFormatError(
        str(folder),
        "folder must hold a GGUF or safetensors model, but got neither",
        "OpenAI's and Hugging Face's folders hold *.safetensors",
    )
