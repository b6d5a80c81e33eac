"""Pulls from a hub on this machine: what is fetched, resumed, shared, verified and refused."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import try_to_load_from_cache

from ingle import hub
from ingle.errors import (
    DownloadError,
    IngleError,
    ModelNotFoundError,
    UnreachableError,
    UnsupportedError,
)
from ingle.hub import blob, manifest, transfer

REPO = "someone/tiny-GGUF"
SMALL = b"GGUF" + b"small" * 100
LARGE = b"GGUF" + bytes(range(256)) * 400  # 102,404 bytes
FOLDER = {
    "config.json": b'{"model_type": "gpt2"}',
    "tokenizer.json": b"{}",
    "README.md": b"# not needed",
    "pytorch_model.bin": b"\x80\x02 not wanted",
    "model.safetensors": b"\x08" + b"\0" * 7 + b"{}      ",
}


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blob, "PART_BYTES", 10_000)
    monkeypatch.setattr(transfer, "_pause", lambda tries: 0.0)


def add_tiny(hub_server: Any, **facts: Any) -> Any:
    return hub_server.add(
        REPO, {"tiny-Q4_K_M.gguf": LARGE, "tiny-Q8_0.gguf": SMALL, "README.md": b"x"}, **facts
    )


def cached(home: Path) -> list[str]:
    return sorted(p.name for p in (home / "hf" / "hub").rglob("*") if p.is_file())


def test_a_quant_is_fetched_once_and_shared_with_other_tools(hub_server: Any, home: Path) -> None:
    add_tiny(hub_server)
    path = hub.resolve(f"{REPO}:q4_k_m")
    assert path.read_bytes() == LARGE
    theirs = try_to_load_from_cache(REPO, "tiny-Q4_K_M.gguf", cache_dir=home / "hf" / "hub")
    assert theirs == str(path)
    before = hub_server.hits.total()
    assert hub.resolve(f"{REPO}:Q4_K_M") == hub.resolve(f"hf.co/{REPO}:q4_k_m") == path
    assert hub_server.hits.total() == before


def test_without_a_wish_the_rule_chooses(hub_server: Any) -> None:
    add_tiny(hub_server)
    assert hub.pull(REPO).name == "tiny-Q4_K_M.gguf"
    assert [m.label for m in manifest.every()] == ["Q4_K_M"]


def test_large_files_come_by_parts_and_without_the_token(
    hub_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_tiny(hub_server, gated=True)
    monkeypatch.setenv("HF_TOKEN", hub_server.TOKEN)
    hub.pull(REPO)
    assert len(hub_server.ranges_asked) == -(-len(LARGE) // 10_000)
    assert None not in hub_server.ranges_asked
    assert set(hub_server.tokens_at_store) == {None}  # the store is another host


def test_a_server_without_ranges_sends_the_whole(hub_server: Any) -> None:
    add_tiny(hub_server)
    hub_server.ranges = False
    assert hub.pull(REPO).read_bytes() == LARGE


def test_a_server_without_ranges_that_breaks_off_starts_over(hub_server: Any) -> None:
    add_tiny(hub_server)
    hub_server.ranges = False
    hub_server.cut_after = [100, 50_000, 70_000]
    assert hub.pull(REPO).read_bytes() == LARGE


def test_a_folder_of_safetensors_brings_what_belongs_to_it(hub_server: Any) -> None:
    hub_server.add("someone/folder", FOLDER)
    path = hub.pull("someone/folder")
    names = sorted(file.name for file in path.iterdir())
    assert names == ["config.json", "model.safetensors", "tokenizer.json"]
    assert all((path / name).read_bytes() == FOLDER[name] for name in names)
    assert hub.resolve("someone/folder") == path


def test_a_split_model_comes_whole(hub_server: Any) -> None:
    parts = {f"Q8_0/m-Q8_0-0000{i}-of-00003.gguf": b"GGUF%d" % i for i in (1, 2, 3)}
    hub_server.add("someone/split", parts)
    first = hub.pull("someone/split:Q8_0")
    assert first.name == "m-Q8_0-00001-of-00003.gguf"
    assert {p.name: p.read_bytes() for p in first.parent.iterdir()} == {
        name.partition("/")[2]: data for name, data in parts.items()
    }


def test_a_file_is_named_by_its_path_or_page(hub_server: Any) -> None:
    add_tiny(hub_server)
    path = hub.pull(f"{REPO}:tiny-Q8_0.gguf")
    assert path.read_bytes() == SMALL
    page = f"https://huggingface.co/{REPO}/blob/main/tiny-Q8_0.gguf"
    assert hub.resolve(page) == path


def test_known_names_stand_for_repositories(hub_server: Any) -> None:
    hub_server.add("ggml-org/gpt-oss-20b-GGUF", {"gpt-oss-20b-mxfp4.gguf": LARGE})
    path = hub.resolve("gpt-oss")
    assert path.name == "gpt-oss-20b-mxfp4.gguf"
    assert hub.resolve("GPT-OSS:20B") == hub.resolve("gpt-oss:latest") == path
    assert [m.name for m in hub.listing() if m.path] == ["gpt-oss:20b"]


def test_a_cut_connection_goes_on_where_it_stood(hub_server: Any) -> None:
    add_tiny(hub_server)
    hub_server.cut_after = [1234, 10, 0, 9_999]
    assert hub.pull(REPO).read_bytes() == LARGE
    assert "bytes=1234-9999" in hub_server.ranges_asked
    assert "bytes=1244-9999" in hub_server.ranges_asked


def test_a_connection_cut_for_good_is_resumed_by_the_next_pull(
    hub_server: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_tiny(hub_server)
    monkeypatch.setenv("INGLE_CONNECTIONS", "1")
    hub_server.cut_after = [10_000, 10_000, 10_000, 55, *[0] * 4]
    with pytest.raises(DownloadError, match="must arrive whole, but got cut off 5 times"):
        hub.pull(REPO)
    assert [n for n in cached(home) if n.endswith(".incomplete")] != []
    hub_server.ranges_asked.clear()
    assert hub.pull(REPO).read_bytes() == LARGE
    assert hub_server.ranges_asked[0] == "bytes=30000-39999"
    assert len(hub_server.ranges_asked) == 8
    assert not [n for n in cached(home) if ".ingle." in n]


def test_a_part_marked_by_half_a_line_is_fetched_again(hub_server: Any, home: Path) -> None:
    add_tiny(hub_server)
    hub_server.refusals = []
    path = hub.pull(REPO)
    target = path.resolve()
    path.unlink()
    partial = target.with_name(f"{target.name}.ingle.incomplete")
    target.rename(partial)
    journal = target.with_name(f"{target.name}.ingle.parts")
    journal.write_text(f"ingle-parts 1 {len(LARGE)} 10000\n0\n1\n1")
    hub_server.ranges_asked.clear()
    assert hub.pull(REPO).read_bytes() == LARGE
    assert len(hub_server.ranges_asked) == 9


@pytest.mark.parametrize("junk", ["", "x", "ingle-parts 1 5 5\n0\n", "\xff"])
def test_a_damaged_journal_starts_over(hub_server: Any, home: Path, junk: str) -> None:
    add_tiny(hub_server)
    path = hub.pull(REPO)
    target = path.resolve()
    path.unlink()
    target.rename(target.with_name(f"{target.name}.ingle.incomplete"))
    target.with_name(f"{target.name}.ingle.parts").write_text(junk)
    assert hub.pull(REPO).read_bytes() == LARGE


def test_a_wrong_checksum_is_told_and_leaves_nothing(hub_server: Any, home: Path) -> None:
    add_tiny(hub_server, stated_etag={"tiny-Q4_K_M.gguf": "a" * 64})
    with pytest.raises(
        DownloadError, match=f"must have SHA-256 {'a' * 64}, but got [0-9a-f]{{64}}"
    ):
        hub.pull(REPO)
    assert [name for name in cached(home) if not name.endswith((".lock", ".TAG"))] == []
    assert list(manifest.every()) == []


def test_small_files_are_verified_too(hub_server: Any, home: Path) -> None:
    hub_server.add("someone/folder", FOLDER, stated_etag={"config.json": "b" * 40})
    with pytest.raises(DownloadError, match="must have git id b"):
        hub.pull("someone/folder")


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("stated", [len(LARGE) - 1, len(LARGE) + 1, 5])
def test_a_wrong_size_is_told(hub_server: Any, stated: int, ranges: bool) -> None:
    add_tiny(hub_server, stated_bytes={"tiny-Q4_K_M.gguf": stated})
    hub_server.ranges = ranges
    with pytest.raises(DownloadError, match=f"must have {stated} bytes, but got {len(LARGE)}"):
        hub.pull(REPO)


@pytest.mark.parametrize("facts", [{"private": True}, {"gated": True}])
def test_what_is_closed_says_how_to_get_in(
    hub_server: Any, facts: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    add_tiny(hub_server, **facts)
    with pytest.raises(IngleError, match=r"open to you, but got HTTP 401[^\n]*\n.*HF_TOKEN"):
        hub.pull(REPO)
    monkeypatch.setenv("HF_TOKEN", hub_server.TOKEN)
    assert hub.pull(REPO).read_bytes() == LARGE


def test_a_login_of_hugging_faces_tools_holds(
    hub_server: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    add_tiny(hub_server, private=True)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: hub_server.TOKEN)
    assert hub.pull(REPO).read_bytes() == LARGE


def test_an_unknown_repository_is_one_line(hub_server: Any) -> None:
    with pytest.raises(ModelNotFoundError, match=r"^\[no/such\] the repository must exist"):
        hub.resolve("no/such")


@pytest.mark.parametrize("wish", ["Q2_K", "other.gguf"])
def test_a_quant_that_is_not_there_gets_those_that_are(hub_server: Any, wish: str) -> None:
    add_tiny(hub_server)
    with pytest.raises(ModelNotFoundError, match=f"must hold {wish}, but got Q4_K_M, Q8_0"):
        hub.pull(f"{REPO}:{wish}")


def test_a_repository_of_pickles_is_refused(hub_server: Any) -> None:
    hub_server.add("someone/pickles", {"pytorch_model.bin": b"\x80", "config.json": b"{}"})
    with pytest.raises(UnsupportedError, match="must hold GGUF or safetensors files"):
        hub.pull("someone/pickles")


@pytest.mark.parametrize("after", ["0", "Wed, 21 Oct 2015 07:28:00 GMT", None])
@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_given_time(hub_server: Any, status: int, after: str | None) -> None:
    add_tiny(hub_server)
    headers = {"Retry-After": after} if after else {}
    hub_server.refusals = [(status, headers)] * 3
    assert hub.pull(REPO).read_bytes() == LARGE


def test_patience_ends(hub_server: Any) -> None:
    add_tiny(hub_server)
    hub_server.refusals = [(429, {"Retry-After": "0"})] * 50
    with pytest.raises(DownloadError, match=r"but got HTTP 429 \(too many\)"):
        hub.pull(REPO)
    assert len(hub_server.refusals) == 50 - transfer.TRIES


def test_a_long_wait_is_left_to_the_person(hub_server: Any) -> None:
    add_tiny(hub_server)
    hub_server.refusals = [(429, {"Retry-After": "3600"})]
    with pytest.raises(DownloadError, match="to be tried again after 3600 s"):
        hub.pull(REPO)


def test_a_store_that_refuses_midway_is_told(hub_server: Any, home: Path) -> None:
    add_tiny(hub_server)
    hub_server.refusals = []
    hub_server.cut_after = [5_000]

    def refuse_later(at: int, chunk: bytes) -> None:
        hub_server.refusals = [(500, {})] * 5

    remote = transfer.Remote(
        "x", f"{hub_server.url}/{REPO}/resolve/m/tiny-Q4_K_M.gguf", len(LARGE), None
    )
    with pytest.raises(DownloadError, match="the server must answer, but got HTTP 500"):
        transfer.fetch_range(remote, 0, 10_000, refuse_later, threading.Event())


def test_no_network_is_one_line(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UnreachableError, match="the model hub must be reachable, but got"):
        hub.resolve(REPO)


def test_what_is_here_is_used_when_the_network_is_not(
    hub_server: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    add_tiny(hub_server)
    path = hub.pull(REPO)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert hub.pull(REPO) == hub.resolve(REPO) == path
    assert "using what is here" in capsys.readouterr().err


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "INGLE_OFFLINE"])
def test_offline_asks_nobody(
    hub_server: Any, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_tiny(hub_server)
    monkeypatch.setenv(variable, "1")
    with pytest.raises(UnreachableError, match="the wish to stay offline"):
        hub.resolve(REPO)
    assert hub_server.hits == {}


def test_a_full_disk_is_found_before_the_first_byte(
    hub_server: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_tiny(hub_server)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1_000_000))
    with pytest.raises(DownloadError, match=r"a pull needs .* free in .*, but got 1\.0 MB"):
        hub.pull(REPO)
    assert hub_server.ranges_asked == []


def test_a_disk_that_fills_up_meanwhile_is_told(
    hub_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_tiny(hub_server)

    def fail(file: int, data: object, at: int) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(blob, "_write_at", fail)
    with pytest.raises(DownloadError, match="must be written to disk, but got No space left"):
        hub.pull(REPO)


def test_a_cache_that_is_a_file_is_told(
    hub_server: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_tiny(hub_server)
    (home / "file").write_text("in the way")
    monkeypatch.setenv("HF_HUB_CACHE", str(home / "file"))
    with pytest.raises(DownloadError, match="cache must be writable, but got"):
        hub.pull(REPO)


def test_a_models_folder_that_is_a_file_is_told(
    hub_server: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_tiny(hub_server)
    (home / "file").write_text("in the way")
    monkeypatch.setenv("INGLE_MODELS", str(home / "file"))
    with pytest.raises(IngleError, match="the models folder must be writable, but got"):
        hub.pull(REPO)
    assert hub_server.hits == {}


def test_hostile_file_names_stay_outside(hub_server: Any) -> None:
    names = ["../../x.gguf", "/etc/x.gguf", "a//b.gguf", "a\\b.gguf", "c:x.gguf"]
    hub_server.add("someone/evil", dict.fromkeys(names, SMALL) | {"README.md": b""})
    with pytest.raises(UnsupportedError, match="but got neither"):
        hub.pull("someone/evil")


def test_a_very_large_file_comes_by_ranges_or_not_at_all(
    hub_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_tiny(hub_server)
    monkeypatch.setattr(blob, "PART_BYTES", 10_000)
    monkeypatch.setattr(blob, "_LARGEST_WHOLE_BYTES", 20_000)
    hub_server.ranges = False
    with pytest.raises(DownloadError, match="must be sent by ranges, but got all of it"):
        hub.pull(REPO)
    hub_server.ranges = True
    assert hub.pull(REPO).read_bytes() == LARGE


def test_the_hub_is_told_nothing_but_what_is_wanted(hub_server: Any) -> None:
    add_tiny(hub_server)
    code = f"from ingle import hub; hub.pull({REPO!r})"
    root = str(Path(hub.__file__).parents[2])
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": root}, check=True)
    assert all(REPO in path for path in hub_server.hits)


PULL = f"""
from ingle import hub
from ingle.hub import blob
blob.PART_BYTES = 10_000
print(hub.pull({REPO!r}))
"""


def start_child() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PULL],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(hub.__file__).parents[2])},
    )


def test_two_pulls_at_once_fetch_once(hub_server: Any) -> None:
    add_tiny(hub_server)
    hub_server.holds.clear()
    with start_child() as first:
        assert hub_server.half_sent.wait(60)
        with start_child() as second:
            assert second.stderr is not None
            assert any("waiting" in line for line in second.stderr)
            hub_server.holds.set()
            outs = [first.communicate()[0], second.communicate()[0]]
    assert first.returncode == second.returncode == 0
    assert outs[0] == outs[1]
    assert Path(outs[0].strip()).read_bytes() == LARGE
    assert len(hub_server.ranges_asked) == 11


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_an_interrupted_pull_is_resumed(hub_server: Any, home: Path) -> None:
    add_tiny(hub_server)
    hub_server.cut_after = [10_000]
    hub_server.holds.clear()
    with start_child() as child:
        assert hub_server.half_sent.wait(60)
        child.send_signal(signal.SIGINT)
        hub_server.holds.set()
        _, err = child.communicate(timeout=60)
    assert child.returncode != 0
    assert "KeyboardInterrupt" in err
    with contextlib.suppress(IndexError):
        assert [n for n in cached(home) if n.endswith(".incomplete")]
    hub_server.ranges_asked.clear()
    assert hub.pull(REPO).read_bytes() == LARGE
    assert len(hub_server.ranges_asked) < 11


def test_a_newer_commit_is_pulled_and_the_same_blobs_are_not_fetched_again(
    hub_server: Any,
) -> None:
    repo = add_tiny(hub_server)
    old = hub.pull(REPO)
    repo.commit = "d" * 40
    hub_server.ranges_asked.clear()
    new = hub.pull(REPO)
    assert new != old
    assert new.read_bytes() == LARGE
    assert hub_server.ranges_asked == []


def test_removing_frees_what_nobody_else_needs(hub_server: Any, home: Path) -> None:
    add_tiny(hub_server)
    hub.pull(f"{REPO}:Q4_K_M")
    kept = hub.pull(f"{REPO}:Q8_0")
    assert hub.remove(f"{REPO}:q4_k_m") == len(LARGE)
    assert kept.read_bytes() == SMALL
    assert hub.remove(f"{REPO}:Q8_0") == len(SMALL)
    assert not (home / "hf" / "hub" / "models--someone--tiny-GGUF").exists()
    with pytest.raises(ModelNotFoundError, match="must be on this machine"):
        hub.remove(f"{REPO}:Q8_0")


def test_an_older_commit_is_let_go_of(hub_server: Any, home: Path) -> None:
    repo = add_tiny(hub_server)
    old = hub.pull(REPO)
    repo.commit, repo.files["tiny-Q4_K_M.gguf"] = "e" * 40, LARGE[::-1]
    new = hub.pull(REPO)
    assert new.read_bytes() == LARGE[::-1]
    assert not old.exists()
    blobs = home / "hf/hub/models--someone--tiny-GGUF/blobs"
    assert [blob.stat().st_size for blob in blobs.iterdir()] == [len(LARGE)]


def test_removing_leaves_what_another_tool_fetched(hub_server: Any, home: Path) -> None:
    add_tiny(hub_server)
    path = hub.pull(REPO)
    manifest.discard(REPO)  # as if another tool had brought it
    assert hub.pull(REPO) == path
    assert hub.remove(REPO) == 0
    assert path.read_bytes() == LARGE
    with pytest.raises(IngleError, match="`hf cache rm` removes it"):
        hub.remove(REPO)
