"""Tokenizers read from tokenizer.json. Oracle: the `tokenizers` library reading the same file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as Oracle

from ingle.errors import FileFormatError, IngleError, UnsupportedError
from ingle.tokenizer import from_tokenizer_json
from ingle.tokenizer.splits import SPLITS

SPECIALS = ["<|bos|>", "<|return|>", "<|im_end|>"]
SAMPLES = [
    "Hello world 12345", "it's I'LL we'Ve", "приветМир e\u0301", "日本語 👩‍👩‍👧", "a/b//c\n\n x\t",
    "", "<|bos|>x<|im_end|>\n",
]  # fmt: skip


def make_oracle(name: str, bos: bool = False) -> Oracle:
    split = SPLITS[name]
    oracle = Oracle(models.BPE(ignore_merges=split.ignore_merges))
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=split.pattern is None)
    steps: list[Any] = [byte_level]
    if split.single_digits:
        steps.insert(0, pre_tokenizers.Digits(individual_digits=True))
    if split.pattern is not None:
        steps.insert(0, pre_tokenizers.Split(Regex(split.pattern), behavior="isolated"))
    oracle.pre_tokenizer = pre_tokenizers.Sequence(steps) if len(steps) > 1 else byte_level
    oracle.normalizer = normalizers.NFC() if split.nfc else None
    oracle.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=700, initial_alphabet=alphabet, special_tokens=SPECIALS, show_progress=False
    )
    oracle.train_from_iterator([Path(json.__file__).read_text("utf-8")], trainer)
    oracle.add_tokens(["<tool_call>"])
    if bos:
        template = processors.TemplateProcessing(
            single="<|bos|> $A", special_tokens=[(SPECIALS[0], 0)]
        )
        oracle.post_processor = processors.Sequence([processors.ByteLevel(), template])
    return oracle


ORACLES = {name: make_oracle(name) for name in SPLITS}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tokenizers")


@settings(deadline=None)
@given(text=st.text() | st.lists(st.sampled_from(SAMPLES)).map("".join))
@pytest.mark.parametrize("name", SPLITS)
def test_any_text_has_the_ids_of_the_library(name: str, text: str, folder: Path) -> None:
    tokenizer = saved(name, folder)
    ids = tokenizer.encode_with_specials(text)
    assert ids == ORACLES[name].encode(text, add_special_tokens=False).ids
    assert tokenizer.decode(ids) == ORACLES[name].decode(ids, skip_special_tokens=False)
    assert not set(tokenizer.encode(text)) & set(tokenizer.special_tokens.values())


def saved(name: str, folder: Path, read: dict[str, Any] = {}) -> Any:  # noqa: B006
    if name not in read:
        path = folder / f"{name}.json"
        path.write_text(ORACLES[name].to_str(), "utf-8")
        read[name] = from_tokenizer_json(path)
    return read[name]


def test_facts_come_from_the_files_beside(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(make_oracle("gpt-2", bos=True).to_str(), "utf-8")
    plain = from_tokenizer_json(tmp_path / "tokenizer.json")
    assert (plain.bos_id, plain.eos_id, plain.add_bos) == (0, None, True)
    assert plain.eos_ids == {1, 2}  # known by their names
    config = {"bos_token": {"content": "<|bos|>"}, "eos_token": "<tool_call>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [2, 5]}', "utf-8")
    tokenizer = from_tokenizer_json(tmp_path / "tokenizer.json")
    assert (tokenizer.bos_id, tokenizer.eos_id) == (0, tokenizer.vocab_size - 1)
    assert tokenizer.eos_ids == {1, 2, 5, tokenizer.vocab_size - 1}
    assert tokenizer.control_ids == {0, 1, 2}
    assert set(tokenizer.special_tokens) == {*SPECIALS, "<tool_call>"}


def test_ids_left_out_are_empty_tokens(tmp_path: Path) -> None:
    root = json.loads(ORACLES["gpt-2"].to_str())
    last = root["added_tokens"][-1]
    last["id"] += 10
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(root), "utf-8")
    tokenizer = from_tokenizer_json(path)
    assert tokenizer.vocab_size == last["id"] + 1
    assert tokenizer.token_bytes(last["id"] - 1) == b""
    assert tokenizer.token_bytes(last["id"]) == b"<tool_call>"


def set_in(*path: str | int, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(root: dict[str, Any]) -> None:
        node: Any = root
        for key in path[:-1]:
            node = node[key]
        node[path[-1]] = to

    return change


DAMAGE = [
    set_in("model", to=None),
    set_in("model", to=[]),
    set_in("model", "type", to="WordPiece"),
    set_in("model", "type", to=["BPE"]),
    set_in("model", "byte_fallback", to=True),
    set_in("model", "dropout", to=0.5),
    set_in("model", "dropout", to=[]),
    set_in("model", "vocab", to={}),
    set_in("model", "vocab", to=[]),
    set_in("model", "vocab", "Ġ", to=10**9),
    set_in("model", "vocab", "Ġ", to=-1),
    set_in("model", "vocab", "Ġ", to=10**30),
    set_in("model", "vocab", "Ġ", to=1.5),
    set_in("model", "vocab", "Ġ", to=True),
    set_in("model", "vocab", "Ġ", to=7),
    set_in("model", "vocab", "<|bos|>", to=699),
    set_in("model", "merges", to=None),
    set_in("model", "merges", 0, to=["zz", "qq"]),
    set_in("model", "merges", 0, to=["a"]),
    set_in("model", "merges", 0, to="a b c"),
    set_in("model", "merges", 0, to=[1, 2]),
    set_in("model", "merges", 0, to=7),
    set_in("model", "merges", 0, to=["\ud800", "a"]),
    set_in("pre_tokenizer", to=None),
    set_in("pre_tokenizer", to=5),
    set_in("pre_tokenizer", to={"type": "Sequence", "pretokenizers": 5}),
    set_in("pre_tokenizer", to={"type": "Sequence", "pretokenizers": [5, 6]}),
    set_in("pre_tokenizer", "add_prefix_space", to=True),
    set_in("pre_tokenizer", "use_regex", to=False),
    set_in("normalizer", to={"type": "Lowercase"}),
    set_in("normalizer", to=3),
    set_in("decoder", to=None),
    set_in("added_tokens", to=None),
    set_in("added_tokens", 0, to=None),
    set_in("added_tokens", 0, "id", to=3),
    set_in("added_tokens", 0, "id", to=-3),
    set_in("added_tokens", 0, "id", to="0"),
    set_in("added_tokens", 0, "content", to=""),
    set_in("added_tokens", 0, "content", to=None),
    set_in("added_tokens", 0, "content", to="<|return|>"),
    set_in("added_tokens", 0, "content", to="x" * 5000),
    set_in("added_tokens", 0, "special", to=1),
    set_in("added_tokens", 0, "lstrip", to=True),
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_files_give_one_line(damage: Callable[[Any], None], tmp_path: Path) -> None:
    root = json.loads(ORACLES["gpt-2"].to_str())
    damage(root)
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(root), "utf-8")
    with pytest.raises((FileFormatError, UnsupportedError)) as caught:
        from_tokenizer_json(path)
    first, *hint = str(caught.value).split("\n")
    assert first.startswith("[tokenizer.json: ")
    assert len(first) < 400
    assert all(line.startswith("hint: ") for line in hint)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"7", b"\xff", b"{", b"[" * 100_000, b'{"a": ' + b"9" * 9999 + b"}"]
)
def test_what_is_not_json_gives_one_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=r"^\[tokenizer.json\]"):
        from_tokenizer_json(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tokenizer_config.json", "["),
        ("tokenizer_config.json", '{"bos_token": 7}'),
        ("tokenizer_config.json", '{"eos_token": "nowhere"}'),
        ("generation_config.json", '{"eos_token_id": "2"}'),
        ("generation_config.json", '{"eos_token_id": [701, 99999]}'),
    ],
)
def test_damage_beside_names_its_file(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(ORACLES["gpt-2"].to_str(), "utf-8")
    (tmp_path / name).write_text(content, "utf-8")
    with pytest.raises(IngleError) as caught:
        from_tokenizer_json(tmp_path / "tokenizer.json")
    assert caught.value.where.startswith(name)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="No such file"):
        from_tokenizer_json(tmp_path / "tokenizer.json")


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(FileFormatError, match="at most"):
        from_tokenizer_json(path)
