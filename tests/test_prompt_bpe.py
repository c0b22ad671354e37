"""CLIP's tokenizer: equal to OpenAI's and transformers', whole folders too; lengths, padding, threads."""

import functools
import gzip
import importlib.metadata
import json
import os
import random
import re
import runpy
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ftfy
import pytest
import torch
from transformers import CLIPTokenizer

from scorefield.prompt.bpe import END_ID, ClipTokenizer, openai

AWKWARD = json.loads(gzip.decompress((Path(__file__).parent / "data" / "clip_tokens.json.gz").read_bytes()))
START_ID = END_ID - 1
SPECIAL = ("<|startoftext|>", "<|endoftext|>")
PLAIN = ClipTokenizer.packaged()
MARKS = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}


def prompts() -> Iterator[str]:
    """Letters, marks, spaces and special tokens of many kinds in a row, the same ones each time."""
    source = random.Random(0)
    parts = [
        "cat",
        "Hello",
        "it's",
        "WE'LL",
        "<|endoftext|>",
        "<|STARTOFTEXT|>",
        "<cat-toy>",
        "<Cat-Toy>",
        "!",
        "!?",
        "\t\n",
    ]
    parts += [
        "  ",
        "42",
        "é",
        "e\u0301",
        "ΣΑΣ",
        "İ",
        "ß",
        "猫",
        "😀",
        "\u00a0",
        "\u200b",
        "½",
        "ﬁ",
        "’",
        "&amp;",
        "_",
        "\x00",
    ]
    for _ in range(60):
        yield "".join(source.choices(parts, k=source.randrange(1, 12)))
        yield "".join(map(chr, source.choices([*range(0x20, 0x800), *range(0x4E00, 0x4F00)], k=8)))


def ids(tokenizer: ClipTokenizer, prompt: str) -> list[int]:
    rows, mask = tokenizer.encode([prompt])
    assert (rows[~mask] == tokenizer.pad_id).all()
    found: list[int] = rows[mask].tolist()
    return found


@pytest.mark.parametrize(("cleaning", "clean"), [("plain", None), ("openai", openai(ftfy.fix_text))])
def test_awkward_prompts_have_the_published_ids(cleaning: str, clean: Callable[[str], str] | None) -> None:
    tokenizer = ClipTokenizer.packaged(clean=clean)
    assert len(AWKWARD) == 22
    for row in AWKWARD:
        if len(row["text"]) > 80:  # theirs is cut in silence
            assert row[cleaning] == [START_ID, *[320] * 75, END_ID]
            continue
        assert ids(tokenizer, row["text"]) == row[cleaning], row["text"]


def test_openais_cleaning_gives_openclips_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")  # which the file sets; this puts it back
    path = importlib.metadata.distribution("open_clip_torch").locate_file("open_clip/tokenizer.py")
    theirs = runpy.run_path(str(path))["SimpleTokenizer"]()
    ours, source = ClipTokenizer.packaged(clean=openai(ftfy.fix_text)), random.Random(0)
    parts = [
        "cat ",
        "IT'S",
        "ΣΑΣ",
        "İ",
        "’",
        "<b>",
        "&amp;amp;",
        "&eacute;",
        "e&#769;",
        "e\u0301",
        "ﬁ",
        "Ã©",
        "猫",
        "\x1c",
        "42",
        "!!",
    ]
    for prompt in ("".join(source.choices(parts, k=source.randrange(1, 9))) for _ in range(200)):
        assert ids(ours, prompt)[1:-1] == theirs.encode(prompt), prompt


def test_what_the_two_cleanings_tell_apart_is_in_the_awkward_prompts() -> None:
    assert sum(row["plain"] != row["openai"] for row in AWKWARD) == 4


def test_the_packaged_merges_make_clips_vocabulary() -> None:
    vocabulary = PLAIN.tokenizer.get_vocab()
    assert len(PLAIN) == len(vocabulary) == 49408
    known = {"!": 0, "!</w>": 256, "in": 512, "hello</w>": 3306, "<|startoftext|>": 49406, "<|endoftext|>": 49407}
    assert {word: vocabulary[word] for word in known} == known


@functools.cache
def _vocabulary() -> tuple[dict[str, int], list[str]]:
    """CLIP's, with its first 2000 merges only: a folder may hold any, and small ones are read in no time."""
    merges = [" ".join(pair) for pair in json.loads(PLAIN.tokenizer.to_str())["model"]["merges"][:2000]]
    words = sorted(PLAIN.tokenizer.get_vocab().items(), key=lambda held: held[1])[: 512 + len(merges)]
    return {word: index for index, (word, _) in enumerate([*words, *((mark, 0) for mark in SPECIAL)])}, merges


def _old(folder: Path, config: dict[str, Any], **files: object) -> None:
    """vocab.json and merges.txt, and the JSON files named."""
    vocabulary, merges = _vocabulary()
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")
    for name, held in {"vocab": vocabulary, "tokenizer_config": config, **files}.items():
        (folder / f"{name}.json").write_text(json.dumps(held), encoding="utf-8")


def _first(folder: Path) -> None:
    """As stable-diffusion-v1-5 publishes it: the start token is looked for after the lower-casing."""
    start = {"content": "<|startoftext|>", "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
    marks = MARKS | {"bos_token": start, "pad_token": "<|endoftext|>"}
    _old(folder, {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77} | marks, special_tokens_map=marks)


def _second(folder: Path) -> None:
    """As stable-diffusion-2 does: the older file's padding token goes before the configuration's."""
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, **MARKS, "pad_token": "<|endoftext|>"}
    _old(folder, config, special_tokens_map=MARKS | {"pad_token": "!"})


def _listed(folder: Path) -> None:
    """As newer libraries wrote the same."""
    tokens = {"0": "!"} | {str(_vocabulary()[0][mark]): mark for mark in SPECIAL}
    decoder = {index: {"content": word, "special": True} for index, word in tokens.items()}
    config = {"tokenizer_class": "CLIPTokenizer", **MARKS, "pad_token": "!", "added_tokens_decoder": decoder}
    _old(folder, config | {"model_max_length": 77})


def _bare(folder: Path) -> None:
    _old(folder, {"model_max_length": 77})


def _taught(folder: Path) -> None:
    """With words that textual inversion added."""
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, **MARKS, "pad_token": "<|endoftext|>"}
    _old(folder, config, added_tokens={"zyx": 2515, "<cat-toy>": 2514})


def _whole(folder: Path) -> None:
    """tokenizer.json alone, as transformers writes it today."""
    vocabulary, merges = _vocabulary()
    pairs = [tuple(merge.split(" ")) for merge in merges]
    CLIPTokenizer(vocab=vocabulary, merges=pairs, pad_token="!", model_max_length=77).save_pretrained(folder)
    assert not (folder / "vocab.json").exists()


@pytest.mark.parametrize("publish", [_first, _second, _listed, _bare, _taught, _whole])
def test_a_folder_gives_the_ids_that_transformers_gives(publish: Callable[[Path], None], tmp_path: Path) -> None:
    publish(tmp_path)
    ours, theirs = ClipTokenizer.from_folder(tmp_path), CLIPTokenizer.from_pretrained(tmp_path)
    held = [*filter(lambda prompt: ours.count(prompt) <= 75, prompts()), *(row["text"] for row in AWKWARD[:15])]
    assert len(held) > 100
    expected = theirs(held, padding="max_length", max_length=77, return_tensors="pt")["input_ids"]
    found = ours.encode(held)[0]
    different = [prompt for prompt, a, b in zip(held, found, expected, strict=True) if not a.equal(b)]
    assert not different
    assert len(ours) == len(theirs)


def test_an_exclamation_mark_is_a_word_of_the_package_and_padding_in_the_second_models_folder(tmp_path: Path) -> None:
    _second(tmp_path)
    assert ids(ClipTokenizer.packaged(pad_id=0), "hello!") == [START_ID, 3306, 256, END_ID]
    in_folder = ClipTokenizer.from_folder(tmp_path)
    assert [in_folder.pad_id, *ids(in_folder, "the!")] == [0, 2512, *ids(PLAIN, "the")[1:2], 0, 2513]


def test_prompts_are_filled_up_to_77() -> None:
    for tokenizer, pad in ((PLAIN, END_ID), (ClipTokenizer.packaged(pad_id=0), 0)):
        rows, mask = tokenizer.encode(["hello world", ""])
        assert rows.dtype == torch.int64
        assert rows.tolist() == [[START_ID, 3306, 1002, END_ID] + [pad] * 73, [START_ID, END_ID] + [pad] * 75]
        assert mask.sum(1).tolist() == [4, 2]
        assert mask[0, :4].all()


def test_75_tokens_fit_and_one_more_says_where_the_prompt_would_be_cut() -> None:
    longest = "a " * 73 + "red horse"
    assert PLAIN.count(longest) == 75
    assert PLAIN.encode([longest])[0][0, -1] == END_ID
    told = "the prompt has 78 tokens, 3 more than the 75 that this model reads; it would be cut between "
    told += "'... a a a a a a a a a a red horse' and ' on the moon': shorten it"
    with pytest.raises(ValueError, match=re.escape(told)):
        PLAIN.encode(["short", f"{longest} on the moon"])


def test_the_cut_is_shown_in_the_prompt_as_it_was_written() -> None:
    with pytest.raises(ValueError, match=re.escape("A É 猫' and ' Ünd': shorten it")):
        PLAIN.encode(["a " * (75 - PLAIN.count("A É 猫")) + "A É 猫 Ünd"])


def test_a_count_is_of_tokens_without_the_start_and_the_end() -> None:
    assert [PLAIN.count(prompt) for prompt in ("", "hello world", "supercalifragilisticexpialidocious")] == [0, 2, 9]


def test_a_folder_that_is_not_clips_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"not the folder of a CLIP tokenizer .*vocab\.json"):
        ClipTokenizer.from_folder(tmp_path)
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"type": "WordLevel", "vocab": {}}}))
    with pytest.raises(ValueError, match="does not hold byte pairs"):
        ClipTokenizer.from_folder(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ValueError, match="not the folder of a CLIP tokenizer"):
        ClipTokenizer.from_folder(tmp_path)


MODEL = {
    "type": "BPE", "end_of_word_suffix": "</w>", "vocab": {"a": 0, SPECIAL[0]: 1, SPECIAL[1]: 2}, "merges": []
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "held"),
    [
        ("tokenizer.json", json.dumps({"model": {**MODEL, "merges": ["a b"]}})),
        ("tokenizer.json", json.dumps({"model": {**MODEL, "vocab": {"a": 10**12}}})),
        ("tokenizer.json", json.dumps({"model": {**MODEL, "vocab": {"a": None}}})),
        ("tokenizer.json", json.dumps({"model": MODEL} | {"added_tokens": [3]})),
        ("tokenizer.json", "[" * 100_000),
        ("tokenizer_config.json", "[" * 100_000),
        ("tokenizer_config.json", '{"pad_token": 3}'),
        ("tokenizer_config.json", '{"added_tokens_decoder": [3]}'),
        ("special_tokens_map.json", "[]"),
        ("added_tokens.json", "3"),
    ],
)
def test_a_tokenizer_that_does_not_fit_together_is_one_clear_error(tmp_path: Path, name: str, held: str) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": MODEL}))
    (tmp_path / name).write_text(held)
    with pytest.raises(ValueError, match="not the folder of a CLIP tokenizer") as raised:
        ClipTokenizer.from_folder(tmp_path)
    assert len(str(raised.value)) < 400


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt"])
def test_a_tokenizer_file_that_is_a_pipe_or_endless_is_not_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "vocab.json").write_text("{}")
    (tmp_path / "merges.txt").touch()
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    with pytest.raises(ValueError, match="is a named pipe"):
        ClipTokenizer.from_folder(tmp_path)
    (tmp_path / name).unlink()
    (tmp_path / name).touch()
    os.truncate(tmp_path / name, 2**33)
    with pytest.raises(ValueError, match="is too large"):
        ClipTokenizer.from_folder(tmp_path)


def test_threads_share_a_tokenizer() -> None:
    texts = [row["text"] for row in AWKWARD if len(row["text"]) < 80] * 20
    alone = [ids(PLAIN, text) for text in texts]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda text: ids(PLAIN, text), texts)) == alone
