"""Made harmony_vectors.json.gz: openai-harmony 0.0.8's own renderings and parses.

    python tests/golden/harmony_vectors.py FOLDER_WITH_o200k_base.tiktoken

asks the library again for every vector's input and rewrites the file, which stays as it is.
"""

from __future__ import annotations

import gzip
import json
import os
import sys
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("harmony_vectors.json.gz")


def render(library: Any, vector: dict[str, Any]) -> None:
    """Ask for a rendering."""
    said = json.dumps({"messages": vector["messages"]})
    config = {"auto_drop_analysis": vector["auto_drop_analysis"]}
    inner = library._inner
    try:
        if vector["mode"] == "completion":
            role = vector["next_role"]
            ids = inner.render_conversation_for_completion(said, role, config)
        elif vector["mode"] == "training":
            ids = inner.render_conversation_for_training(said, config)
        else:
            ids = inner.render_conversation(said, config)
    except Exception as error:
        vector["expected_error"] = str(error)
        return
    vector["expected_tokens"], vector["expected_text"] = ids, library.decode(ids)


def parse(library: Any, vector: dict[str, Any]) -> None:
    """Ask for the messages of a stream."""
    from openai_harmony import Role, StreamableParser

    role = Role(vector["role"]) if vector["role"] else None
    reader = StreamableParser(library, role, strict=vector["strict"])
    try:
        for token in vector["tokens"]:
            reader.process(token)
        if vector["send_eos"]:
            reader.process_eos()
    except Exception as error:
        vector["error"] = str(error)
        vector["messages_before_error"] = json.loads(reader._inner.messages)
        return
    vector["messages"] = json.loads(reader._inner.messages)


def main() -> None:
    """Rewrite the file."""
    os.environ["TIKTOKEN_ENCODINGS_BASE"] = sys.argv[1]
    import openai_harmony

    library = openai_harmony.load_harmony_encoding("HarmonyGptOss")
    vectors = json.loads(gzip.decompress(FILE.read_bytes()))
    for vector in vectors["render"]:
        render(library, vector)
    for vector in vectors["parse"]:
        parse(library, vector)
    text = json.dumps(vectors, ensure_ascii=False, separators=(",", ":"))
    FILE.write_bytes(gzip.compress(text.encode(), 9, mtime=0))


if __name__ == "__main__":
    main()
