"""Owns opening a model by its path: container, tokenizer, chat template, recommended sampling.

A GGUF file brings them all; beside safetensors lie tokenizer.json and its companions, and gpt-oss
in OpenAI's own layout needs none, for its vocabulary comes with ingle. It does not know how any of
them is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ingle.errors import FileFormatError
from ingle.formats import GgufFile, SafetensorsFile
from ingle.formats.facts import ModelFacts, open_model
from ingle.formats.json_file import read_json_object
from ingle.formats.mapping import FileMap
from ingle.hub import shelf
from ingle.runtime.presets import recommended
from ingle.tokenizer import Tokenizer, from_gguf_metadata, from_tokenizer_json, o200k_harmony
from ingle.tokenizer.o200k import VOCAB_SIZE

_TEMPLATE_BYTES = 1 << 20
_TEMPLATE_KEY = "tokenizer.chat_template"


class Source:
    """A model on disk, opened: headers are read, weights are not.

    packed: open the packed copy that `hub.shelf` keeps of it, if there is one.
    Raises IngleError when the path holds none, or a damaged one.
    """

    def __init__(self, path: Path, *, packed: bool = False) -> None:
        copy = shelf.copy_of(path) if packed else None
        self.container, self.facts = open_model(path) if copy is None else _packed(copy, path)
        opened = self.container.path
        self._folder = opened if opened.is_dir() else opened.parent

    @property
    def recommended(self) -> Mapping[str, Any]:
        """Sampling options for this model."""
        basename = self.container.metadata.get("general.basename")
        name = basename if isinstance(basename, str) else self.facts.name or self._folder.name
        return recommended(self.facts.architecture, name)

    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer, built anew. Raises FileFormatError when it brings none."""
        if isinstance(self.container, GgufFile):
            return from_gguf_metadata(self.container.metadata)
        path = self._folder / "tokenizer.json"
        if path.is_file():
            return from_tokenizer_json(path)
        sizes, theirs = self.facts.sizes, ("gpt_oss", VOCAB_SIZE)
        if (self.facts.architecture, sizes.get("vocab_size")) == theirs:
            return o200k_harmony()
        raise FileFormatError(
            str(self._folder),
            "a tokenizer.json must lie beside the weights, but got none",
            "copy it from where the model was published",
        )

    def chat_template(self) -> str | None:
        """The Jinja chat template that the model brings, if any."""
        if isinstance(self.container, GgufFile):
            template = self.container.metadata.get(_TEMPLATE_KEY)
            return template if isinstance(template, str) else None
        path = self._folder / "chat_template.jinja"
        return _text(path) if path.is_file() else self._template_in_config()

    def _template_in_config(self) -> str | None:
        """Of tokenizer_config.json: one template, or several of which "default" is meant."""
        path = self._folder / "tokenizer_config.json"
        found = read_json_object(path).get("chat_template") if path.is_file() else None
        named = found if isinstance(found, list) else [{"name": "default", "template": found}]
        for entry in named:
            if isinstance(entry, dict) and entry.get("name") == "default":
                template = entry.get("template")
                return template if isinstance(template, str) else None
        return None


def _packed(copy: Path, path: Path) -> tuple[GgufFile | SafetensorsFile, ModelFacts]:
    """The packed copy; what it was made from, if that is still there and the copy is damaged."""
    try:
        return open_model(copy)
    except FileFormatError:
        if not path.exists():
            raise
        return open_model(path)


def _text(path: Path) -> str:
    file = FileMap(path)
    if file.size > _TEMPLATE_BYTES:
        file.fail("", f"template must have at most {_TEMPLATE_BYTES} bytes, but got {file.size}")
    try:
        return bytes(file.bytes).decode()
    except UnicodeDecodeError as error:
        file.fail("", f"template must be UTF-8, but got another byte at offset {error.start}")
