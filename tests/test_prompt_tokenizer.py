"""The word tokenizer: ids and masks, files, lengths, unknown words, threads."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from scorefield.prompt.tokenizer import END, PAD, SPECIAL, START, UNKNOWN, WordTokenizer, build

WORDS = ["a", "Tree", "desert", "in", "the", "blue", "car", ",", "."]


def test_special_tokens_come_first_and_words_follow_sorted() -> None:
    tokenizer = build([*WORDS, "tree"])
    assert sorted(tokenizer.vocabulary, key=tokenizer.vocabulary.__getitem__)[:6] == [*SPECIAL, ",", "."]
    assert len(tokenizer) == len(SPECIAL) + len(WORDS)


def test_a_prompt_becomes_its_words_between_start_and_end() -> None:
    tokenizer = build(WORDS)
    ids, mask = tokenizer.encode(["A  TREE in the desert, blue.", ""])
    spelt = {index: word for word, index in tokenizer.vocabulary.items()}
    words = [START, "a", "tree", "in", "the", "desert", ",", "blue", ".", END]
    assert [spelt[i] for i in ids[0].tolist()] == words + [PAD] * 22
    assert [spelt[i] for i in ids[1].tolist()] == [START, END] + [PAD] * 30
    assert mask.sum(1).tolist() == [len(words), 2]
    assert not (mask & (ids == tokenizer.vocabulary[PAD])).any()


def test_unknown_words_are_left_out_and_named_with_their_neighbours() -> None:
    tokenizer = build(WORDS)
    with_and_without = tokenizer.encode(["a treee blue xylophone! , car", "a blue, car"])[0]
    assert torch.equal(*with_and_without)
    assert tokenizer.vocabulary[UNKNOWN] not in with_and_without
    assert tokenizer.unknown("a treee, xylophone, treee") == [("treee", ["tree"]), ("xylophone", [])]
    assert tokenizer.unknown("a blue car in the desert") == []


def test_a_known_word_is_near_only_if_it_is_spelt_much_alike() -> None:
    tokenizer = build(["cat", "the", "sketch"])
    assert tokenizer.unknown("kat kitchen") == [("kat", ["cat"]), ("kitchen", [])]


def test_unknown_punctuation_is_named_only_where_there_is_nothing_else() -> None:
    tokenizer = build(["a", "tree"])
    assert tokenizer.unknown('"a tree" -- now!') == [("now", [])]
    assert tokenizer.unknown("?!") == [("?!", [])]


def test_the_words_of_the_vocabulary_are_listed_without_marks_of_its_own() -> None:
    assert build(["tree", "a", ","]).spelt() == [",", "a", "tree"]


def test_a_prompt_cannot_speak_special_tokens() -> None:
    tokenizer = build(WORDS)
    ids, mask = tokenizer.encode(["<end> <pad>", ""])
    assert ids[0].equal(ids[1])
    assert mask.sum(1).tolist() == [2, 2]


def test_a_prompt_over_length_is_an_error_that_counts() -> None:
    tokenizer = build(WORDS, context_length=6)
    assert tokenizer.encode(["a blue car ,"])[1].all()
    with pytest.raises(ValueError, match=r"5 words and marks, this model reads at most 4; shorten 'a blue car , a'"):
        tokenizer.encode(["a", "a blue car , a"])
    with pytest.raises(ValueError, match="200 words and marks") as caught:
        tokenizer.encode(["tree " * 200])
    assert len(str(caught.value)) < 150


def test_a_file_gives_the_same_tokenizer(tmp_path: Path) -> None:
    tokenizer = build(WORDS)
    tokenizer.save(tmp_path / "words.json")
    again = WordTokenizer.from_file(tmp_path / "words.json")
    assert again.vocabulary == tokenizer.vocabulary
    assert again.encode(["a tree"])[0].equal(tokenizer.encode(["a tree"])[0])


def test_a_damaged_or_foreign_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "words.json"
    build(WORDS).save(path)
    whole = json.loads(path.read_text())
    other_rules = {**whole, "normalizer": None}
    no_start = {**whole, "model": {**whole["model"], "vocab": {"a": 0}}}
    for text in (path.read_text()[:200], "[]", "{}", json.dumps(other_rules), json.dumps(no_start)):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"words\.json"):
            WordTokenizer.from_file(path)
    with pytest.raises(FileNotFoundError):
        WordTokenizer.from_file(tmp_path / "none.json")


def test_a_vocabulary_entry_must_be_one_word() -> None:
    with pytest.raises(ValueError, match="'ice cream' is not one word"):
        build(["a", "ice cream"])


def test_threads_share_one_tokenizer() -> None:
    tokenizer = build(WORDS)
    prompts = ["a blue car in the desert", "the tree"] * 50
    alone = tokenizer.encode(prompts)[0]
    with ThreadPoolExecutor(4) as pool:
        for ids, _ in pool.map(tokenizer.encode, [prompts] * 8):
            assert ids.equal(alone)


def test_a_limited_tokenizer_knows_fewer_words_and_gives_the_same_ids() -> None:
    whole = build(["a", "cat", "cot", "dog"])
    some = whole.limited({"a", "dog"})
    assert some.spelt() == ["a", "dog"]
    assert some.unknown("a cat") == [("cat", [])]
    assert torch.equal(some.encode(["a cat dog"])[0], whole.encode(["a dog"])[0])
    learned = some.with_learned({"<bird>": [20]})
    assert learned.words("a <bird> cat") == whole.with_learned({"<bird>": [20]}).words("a <bird> cat")
    assert int(learned.encode(["a <bird> cat"])[1].sum()) == 4  # <start> a <bird> <end>
    assert whole.spelt() == ["a", "cat", "cot", "dog"]
