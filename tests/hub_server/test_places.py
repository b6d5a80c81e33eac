"""Models that other tools keep are used where they lie; names given here stand on them."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from ingle import hub
from ingle.errors import FileFormatError, IngleError, ModelNotFoundError
from ingle.hub import manifest

BYTES = b"GGUF and more"
KIND = "application/vnd.ollama.image."


def ollama_model(root: Path, name: str, **layers: bytes) -> Path:
    """Lay out a model as Ollama does; returns its GGUF blob."""
    described = []
    for kind, data in {"model": BYTES, **layers}.items():
        digest = hashlib.sha256(data).hexdigest()
        blob = root / "blobs" / f"sha256-{digest}"
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(data)
        entry = {"mediaType": KIND + kind, "digest": f"sha256:{digest}", "size": len(data)}
        described.append(entry)
    stem, _, tag = name.partition(":")
    path = root / "manifests/registry.ollama.ai" / stem / tag
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"schemaVersion": 2, "layers": described}))
    return root / "blobs" / f"sha256-{hashlib.sha256(BYTES).hexdigest()}"


@pytest.fixture(autouse=True)
def offline(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGLE_OFFLINE", "1")  # what is found needs nobody


@pytest.fixture
def ollama(home: Path) -> Path:
    return home / ".ollama" / "models"


def test_ollamas_models_are_used_in_place(ollama: Path) -> None:
    blob = ollama_model(ollama, "library/gpt-oss:20b")
    for name in ("gpt-oss:20b", "gpt-oss", "GPT-OSS:latest"):
        assert hub.resolve(name) == hub.pull(name) == blob
    found = {model.name: model for model in hub.listing() if model.path}
    assert list(found) == ["gpt-oss:20b"]
    assert found["gpt-oss:20b"].owner == "Ollama"


def test_any_name_of_ollamas_is_known(ollama: Path) -> None:
    blob = ollama_model(ollama, "library/mistral:latest")
    mine = ollama_model(ollama, "me/own:v1")
    assert hub.is_model_word("mistral")
    assert hub.resolve("mistral") == hub.resolve("mistral:latest") == blob
    assert hub.resolve("me/own:v1") == mine
    assert [m.name for m in hub.listing() if m.path] == ["me/own:v1", "mistral:latest"]


def test_ollamas_folder_is_where_its_variable_says(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_MODELS", str(home / "elsewhere"))
    blob = ollama_model(home / "elsewhere", "library/x:1")
    assert hub.resolve("x:1") == blob


def test_ollamas_parameters_and_system_come_along(ollama: Path) -> None:
    parameters = json.dumps({"temperature": 1, "stop": ["<|end|>"], "num_gpu": 1}).encode()
    ollama_model(ollama, "library/x:1", params=parameters, system=b"Be brief.")
    assert hub.settings("x:1") == {
        "parameters": {"temperature": 1.0, "stop": ["<|end|>"]},
        "system": "Be brief.",
        "template": None,
        "license": None,
    }


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"layers": 3}',
        '{"layers": [{"mediaType": 1, "digest": 2}]}',
        '{"layers": [{"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:x"}]}',
        '{"layers": [{"mediaType": "application/vnd.ollama.image.model",'
        ' "digest": "sha256:../../../../etc/passwd"}]}',
        '{"layers":' * 5000,
    ],
)
def test_a_damaged_manifest_of_ollamas_is_no_model(ollama: Path, text: str) -> None:
    path = ollama / "manifests/registry.ollama.ai/library/x/1"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(ModelNotFoundError):
        hub.resolve("x:1")
    assert [m for m in hub.listing() if m.path] == []


def test_a_model_of_ollamas_without_its_blob_is_none(ollama: Path) -> None:
    ollama_model(ollama, "library/x:1").unlink()
    with pytest.raises(ModelNotFoundError):
        hub.resolve("x:1")


def test_lm_studios_models_are_used_in_place(home: Path) -> None:
    folder = home / ".lmstudio/models/lmstudio-community/gpt-oss-20b-GGUF"
    folder.mkdir(parents=True)
    path = folder / "gpt-oss-20b-MXFP4.gguf"
    path.write_bytes(BYTES)
    assert hub.resolve("gpt-oss:20b") == path
    assert hub.resolve("lmstudio-community/gpt-oss-20b-GGUF:mxfp4") == path
    assert [m.owner for m in hub.listing() if m.path] == ["LM Studio"]
    with pytest.raises(IngleError, match="must be ingle's own to be removed"):
        hub.remove("gpt-oss:20b")


def snapshot(home: Path, repo: str, files: dict[str, bytes], commit: str = "a" * 40) -> Path:
    """Lay out a repository as Hugging Face's tools do where links do not work: plain files."""
    root = home / "hf/hub" / f"models--{repo.replace('/', '--')}"
    for name, data in files.items():
        path = root / "snapshots" / commit / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root / "snapshots" / commit


def test_what_other_tools_fetched_is_used_in_place(home: Path) -> None:
    folder = snapshot(home, "openai/gpt-oss-20b", {"config.json": b"{}", "model.safetensors": b"x"})
    assert hub.resolve("gpt-oss:20b") == hub.resolve("openai/gpt-oss-20b") == folder
    with pytest.raises(IngleError, match="`hf cache rm` removes it"):
        hub.remove("openai/gpt-oss-20b")


def test_a_folder_without_a_shard_is_not_whole(home: Path) -> None:
    index = json.dumps({"weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors"}}).encode()
    files = {"config.json": b"{}", "model.safetensors.index.json": index, "m-1.safetensors": b"x"}
    folder = snapshot(home, "some/model", files)
    with pytest.raises(IngleError, match="stay offline"):
        hub.resolve("some/model")
    (folder / "m-2.safetensors").write_bytes(b"y")
    assert hub.resolve("some/model") == folder


def test_the_commit_last_seen_comes_first(home: Path) -> None:
    old = snapshot(home, "a/b", {"m-Q8_0.gguf": BYTES}, "1" * 40)
    snapshot(home, "a/b", {"m-Q8_0.gguf": BYTES}, "2" * 40)
    refs = old.parents[1] / "refs"
    refs.mkdir()
    (refs / "main").write_text("1" * 40)
    assert hub.resolve("a/b").parent == old


def test_a_dead_link_is_no_file(home: Path) -> None:
    folder = snapshot(home, "a/b", {"m-Q8_0.gguf": BYTES})
    (folder / "m-Q4_K_M.gguf").symlink_to(home / "gone")
    assert hub.resolve("a/b").name == "m-Q8_0.gguf"


@pytest.fixture
def base(home: Path) -> Path:
    return snapshot(home, "a/b", {"m-Q8_0.gguf": BYTES}) / "m-Q8_0.gguf"


def modelfile(home: Path, text: str) -> Path:
    path = home / "Modelfile"
    path.write_text(text)
    return path


def test_a_created_model_stands_on_its_base(home: Path, base: Path) -> None:
    said = modelfile(home, 'FROM a/b\nPARAMETER temperature 0.5\nSYSTEM """Be\nMario."""')
    assert hub.create("mario", said) == base
    assert hub.resolve("mario") == hub.resolve("Mario") == base
    assert hub.is_model_word("mario")
    assert hub.settings("mario")["parameters"] == {"temperature": 0.5}
    assert hub.settings("mario")["system"] == "Be\nMario."
    rows = {m.name: m.summary for m in hub.listing() if m.path}
    assert rows == {"a/b": "Q8_0", "mario": "made from a/b"}


def test_the_nearer_word_wins(home: Path, base: Path) -> None:
    hub.create("one", modelfile(home, "FROM a/b\nPARAMETER seed 1\nPARAMETER top_k 5\nSYSTEM one"))
    hub.create("two", modelfile(home, "FROM one\nPARAMETER seed 2"))
    assert hub.settings("two")["parameters"] == {"seed": 2, "top_k": 5}
    assert hub.settings("two")["system"] == "one"
    assert hub.resolve("two") == base
    with pytest.raises(IngleError, match="no other model must be made from it, but got two"):
        hub.remove("one")
    assert hub.remove("two") == 0
    assert hub.remove("one") == 0
    assert base.is_file()


def test_a_path_starts_at_the_modelfile(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "weights.gguf").write_bytes(BYTES)
    said = modelfile(home, "FROM ./weights.gguf")
    (home / "elsewhere").mkdir()
    monkeypatch.chdir(home / "elsewhere")
    hub.create("own", said)
    assert hub.resolve("own") == home / "weights.gguf"


def test_a_modelfile_can_be_had_again(home: Path, base: Path) -> None:
    text = 'FROM a/b\nPARAMETER stop "a\\nb"\nPARAMETER seed 3\nSYSTEM """Be\nMario."""'
    hub.create("mario", modelfile(home, text))
    hub.create("again", modelfile(home, hub.modelfile_text("mario")))
    assert hub.settings("again") == hub.settings("mario")
    assert hub.modelfile_text("a/b") == "FROM a/b"


@pytest.mark.parametrize("name", ["gpt-oss:20b", "gpt2", "some/repo", "a b", "", "x" * 300, "../x"])
def test_names_that_mean_something_else_are_not_given(home: Path, base: Path, name: str) -> None:
    with pytest.raises(IngleError, match="a name must"):
        hub.create(name, modelfile(home, "FROM a/b"))


def test_a_model_is_not_made_from_itself(home: Path, base: Path) -> None:
    hub.create("one", modelfile(home, "FROM a/b"))
    hub.create("two", modelfile(home, "FROM one"))
    for said in ("FROM two", "FROM one"):
        with pytest.raises(IngleError, match="must not be made from itself"):
            hub.create("one", modelfile(home, said))


def test_copies_are_names(home: Path, base: Path) -> None:
    hub.create("mario", modelfile(home, "FROM a/b\nPARAMETER seed 1"))
    hub.copy("mario", "luigi")
    hub.copy("a/b", "plain")
    assert hub.resolve("luigi") == hub.resolve("plain") == base
    assert hub.settings("luigi")["parameters"] == {"seed": 1}
    with pytest.raises(ModelNotFoundError, match="must be on this machine to be copied"):
        hub.copy("nothing", "copy")


def test_a_base_that_went_away_is_told(home: Path, base: Path) -> None:
    (home / "weights.gguf").write_bytes(BYTES)
    hub.create("own", modelfile(home, "FROM ./weights.gguf"))
    (home / "weights.gguf").unlink()
    with pytest.raises(ModelNotFoundError, match="a model file must exist"):
        hub.resolve("own")
    assert "own" not in [m.name for m in hub.listing() if m.path]


@pytest.mark.parametrize(
    "text", ["", "[]", '{"version": 9, "name": "x"}', '{"version": 1}', "{" * 9999]
)
def test_a_damaged_manifest_is_told(home: Path, text: str) -> None:
    manifest.write(manifest.Manifest("x", base="a/b"))
    next((home / ".ingle/models/.manifests").iterdir()).write_text(text)
    with pytest.raises(FileFormatError, match="manifest must be one that ingle wrote"):
        hub.resolve("x")
    assert [m for m in hub.listing() if m.path] == []


def test_commands_over_a_real_model(ingle: Any, home: Path) -> None:
    golden = Path(__file__).parents[1] / "golden/tiny_gpt_oss/llama_cpp.gguf"
    shutil.copy(golden, home / "tiny.gguf")
    env = {"INGLE_HOME": str(home / ".ingle"), "INGLE_MODELS": "", "HOME": str(home)}
    file = modelfile(home, "FROM ./tiny.gguf\nPARAMETER seed 7\nSYSTEM Be brief.")
    assert ingle("create", "tiny", "-f", str(file), **env).out.startswith("created tiny over ")
    shown = json.loads(ingle("show", "tiny", "--json", **env).out)
    assert shown["architecture"] == "gpt_oss"
    assert shown["parameters"] == {"seed": 7}
    assert shown["system"] == "Be brief."
    assert shown["sampling"] == {"temperature": 1.0, "top_p": 1.0, "top_k": 0}
    page = ingle("show", "tiny", **env).out
    for word in ("architecture", "parameters", "context", "quantization", "licence", "seed 7"):
        assert word in page
    assert "PARAMETER seed 7" in ingle("show", "tiny", "--modelfile", **env).out
    assert ingle("cp", "tiny", "small", **env).out == "small is tiny\n"
    rows = {row["name"]: row for row in json.loads(ingle("ls", "--json", **env).out)}
    assert rows["small"]["path"] == str(home / "tiny.gguf")
    assert ingle("rm", "small", "tiny", **env).code == 0
    assert (home / "tiny.gguf").is_file()
