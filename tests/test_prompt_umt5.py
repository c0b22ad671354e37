"""Wan's prompts: diffusers' cleaning, transformers' ids, and the states that diffusers' pipeline hands on."""

import ast
import html
import importlib.util
import io
import json
import random
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ftfy
import pytest
import regex
import torch
from tests import peer_networks
from tests.networks import relative_error
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import T5TokenizerFast

from scorefield.core.cond import Cond
from scorefield.errors import DamagedError, MissingError, RequestError
from scorefield.nets.umt5 import Umt5Config, Umt5Encoder
from scorefield.prompt.bpe import mended
from scorefield.prompt.conditioner import PromptBatch
from scorefield.prompt.rules import Rules
from scorefield.prompt.sentence_pieces import Umt5Conditioner, Umt5Tokenizer
from scorefield.weights.key_map import views
from scorefield.weights.key_maps import umt5_keys

CORPUS = [
    "a cat sits on the mat", "The dog runs in the park, slowly.", "a film of a red car", "猫が走る 赤い車",
    "ein roter Hund läuft", "镜头晃动，色调艳丽", "x < y & y > z", "L'été, cœur d'or",
]  # fmt: skip
PARTS = [
    "cat ", "The", "  ", "\t\n", "läuft", "la\u0308uft", "猫", "，", "☃", "&amp;amp;", "&lt;b&gt;", "&eacute;", "Ã©",
    "’", "ﬁ", "ｃａｔ", "\u00a0", "\u3000", "\u200b", "\x1c", "\x85", "&#28;", "\u2028", "</s>", "<pad>",
    "<extra_id_1>", "42", "½",
]  # fmt: skip


def prompts(count: int) -> list[str]:
    source = random.Random(0)
    return ["".join(source.choices(PARTS, k=source.randrange(0, 12))) for _ in range(count)]


@pytest.fixture(scope="module")
def wan() -> dict[str, Any]:
    """Functions of diffusers' pipeline_wan.py alone: its import takes seconds."""
    spec = importlib.util.find_spec("diffusers")
    assert spec is not None
    assert spec.origin is not None
    tree = ast.parse((Path(spec.origin).parent / "pipelines" / "wan" / "pipeline_wan.py").read_text(encoding="utf-8"))
    wanted = {"basic_clean", "whitespace_clean", "prompt_clean", "_get_t5_prompt_embeds"}
    found = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name in wanted]
    assert {node.name for node in found} == wanted
    space: dict[str, Any] = {"ftfy": ftfy, "html": html, "re": regex, "torch": torch, "is_ftfy_available": lambda: True}
    space["get_module_execution_device"] = lambda module: torch.device("cpu")
    exec(compile(ast.Module(body=list(found), type_ignores=[]), "pipeline_wan.py", "exec"), space)
    return space


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer as T5's are published, of a small vocabulary."""
    built = Tokenizer(models.Unigram())
    built.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    built.decoder = decoders.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=90, special_tokens=special, unk_token="<unk>", show_progress=False)
    built.train_from_iterator(CORPUS * 20, trainer)
    built.add_special_tokens(["<extra_id_0>", "<extra_id_1>"])
    built.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    built.enable_padding(length=20)  # a file may hold what its last user asked for
    built.enable_truncation(4)
    path = tmp_path_factory.mktemp("tokenizer")
    built.save(str(path / "tokenizer.json"))
    named = {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    config = {"tokenizer_class": "T5Tokenizer", "extra_ids": 0, "model_max_length": 512, **named}
    (path / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Umt5Tokenizer:
    return Umt5Tokenizer.from_folder(folder)


@pytest.fixture(scope="module")
def theirs(tokenizer: Umt5Tokenizer) -> Any:
    """transformers' encoder of the tokenizer's words; the table has more rows, as the published one has."""
    torch.manual_seed(0)
    return peer_networks.umt5(_config(tokenizer))


def _config(tokenizer: Umt5Tokenizer) -> Umt5Config:
    return Umt5Config(vocab_size=len(tokenizer) + 5, width=24, layers=2, heads=3, head_width=8, mlp_width=40)


@pytest.fixture(scope="module")
def conditioner(tokenizer: Umt5Tokenizer, theirs: Any) -> Umt5Conditioner:
    encoder = Umt5Encoder(_config(tokenizer)).requires_grad_(False)
    held = theirs.state_dict()
    for key, place in views(umt5_keys.transformers(encoder.config), encoder.state_dict()).items():
        place.copy_(held[key])
    return Umt5Conditioner(tokenizer, encoder)


def tokens(cond: Cond) -> torch.Tensor:
    assert set(cond.tensors()) == {"tokens"}
    assert cond.tokens is not None
    return cond.tokens


def test_prompts_are_cleaned_as_diffusers_cleans_them(wan: dict[str, Any]) -> None:
    held = prompts(400)
    assert [mended(prompt, ftfy.fix_text) for prompt in held] == [wan["prompt_clean"](prompt) for prompt in held]
    assert mended(" The &amp;amp; CafÃ©\t’ ", ftfy.fix_text) == "The & Café '"  # and capitals stay


def test_ids_are_transformers(tokenizer: Umt5Tokenizer, folder: Path, wan: dict[str, Any]) -> None:
    peer_tokenizer = T5TokenizerFast.from_pretrained(folder)
    peer_tokenizer.backend_tokenizer.no_truncation()
    peer_tokenizer.backend_tokenizer.no_padding()
    held = ["", *CORPUS, *prompts(200)]
    assert [tokenizer.encode(prompt).tolist() for prompt in held] == [
        peer_tokenizer(wan["prompt_clean"](prompt))["input_ids"] for prompt in held
    ]
    assert tokenizer.encode("").tolist() == [1]
    assert len(tokenizer) == len(peer_tokenizer)


@pytest.mark.parametrize("prompt", [*CORPUS[:3], ""])
@torch.no_grad()
def test_states_are_those_of_diffusers_pipeline(
    prompt: str, conditioner: Umt5Conditioner, theirs: Any, folder: Path, wan: dict[str, Any]
) -> None:
    pipeline = SimpleNamespace(tokenizer=T5TokenizerFast.from_pretrained(folder), text_encoder=theirs)
    given = {"max_sequence_length": 512, "device": torch.device("cpu"), "dtype": torch.float32}
    expected = wan["_get_t5_prompt_embeds"](pipeline, [prompt, CORPUS[4]], **given)
    found = tokens(conditioner([prompt, CORPUS[4]]))
    assert found.shape == (2, 512, 24)
    assert relative_error(found, expected, 0.01) < 1e-5
    assert found.ne(0).any(-1).sum(1).tolist() == [
        len(conditioner.tokenizer.encode(one)) for one in (prompt, CORPUS[4])
    ]


def test_a_prompt_has_the_same_states_in_any_batch(conditioner: Umt5Conditioner) -> None:
    both = tokens(conditioner([CORPUS[0], CORPUS[1], CORPUS[0]]))
    assert both[:1].equal(tokens(conditioner([CORPUS[0]])))
    assert both[0].equal(both[2])
    assert not both.requires_grad
    batch = PromptBatch(prompts=CORPUS[:2], negative_prompt="", seeds=[0, 1], width=8, height=8)
    pos, neg = conditioner.pair(batch)
    assert tokens(pos).equal(both[:2])
    assert tokens(neg).equal(tokens(conditioner(["", ""])))


def test_a_tokenized_prompt_is_not_tokenized_again(conditioner: Umt5Conditioner, monkeypatch: Any) -> None:
    expected = conditioner(CORPUS[:1])
    tokenized = conditioner.tokenize(CORPUS[:1])
    monkeypatch.setattr(Umt5Tokenizer, "split", None)
    assert tokens(conditioner(tokenized)).equal(tokens(expected))


def test_counts_leave_the_end_token_out(conditioner: Umt5Conditioner) -> None:
    count = len(conditioner.tokenizer.split("a cat"))
    assert [str(one) for one in conditioner.counts(["a cat", ""])] == [f"{count} of 511", "0 of 511"]


def test_a_prompt_that_is_too_long_is_refused_where_the_original_cuts_it(
    conditioner: Umt5Conditioner, folder: Path
) -> None:
    fits = "猫 " * 254 + "猫猫"  # a space is a token here
    assert conditioner.counts([fits])[0].tokens == 511
    with pytest.raises(
        RequestError, match=r"has 512 tokens, 1 more than the 511 .* between '.*猫猫' and '車': shorten it"
    ):
        conditioner.tokenize([f"{fits}車"])
    cut = T5TokenizerFast.from_pretrained(folder)(f"{fits}車", truncation=True, max_length=512)["input_ids"]
    assert cut == conditioner.tokenizer.encode(fits).tolist()


@pytest.mark.parametrize(
    "rules", [Rules(weighting="a1111"), Rules(long_prompt="chunks"), Rules(clip_skip=2)], ids=["w", "c", "s"]
)
def test_rules_of_stable_diffusion_are_refused(rules: Rules, conditioner: Umt5Conditioner) -> None:
    with pytest.raises(RequestError, match="for Stable Diffusion"):
        conditioner.tokenize(["a cat"], rules)
    with pytest.raises(RequestError, match="for Stable Diffusion"):
        conditioner(["a cat"], rules)
    assert conditioner.unread(["a (cat:1.2)"], Rules()) == []


def test_characters_without_a_piece_are_named(conditioner: Umt5Conditioner) -> None:
    assert conditioner.unknown(["a ☃ cat☃", "猫 Ω", "a cat"]) == {"☃": [], "Ω": []}


def test_an_encoder_of_fewer_words_is_an_error(tokenizer: Umt5Tokenizer) -> None:
    small = Umt5Config(vocab_size=len(tokenizer) - 1, width=8, layers=1, heads=1, head_width=8, mlp_width=8)
    with pytest.raises(ValueError, match="do not belong together"):
        Umt5Conditioner(tokenizer, Umt5Encoder(small))


def test_threads_share_a_tokenizer(tokenizer: Umt5Tokenizer) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(tokenizer.split, CORPUS * 40))
    assert found == [tokenizer.split(prompt) for prompt in CORPUS] * 40


def test_other_files_are_refused_in_one_line(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=re.escape(f"{tmp_path} has no UMT5 tokenizer (tokenizer.json or")):
        Umt5Tokenizer.from_folder(tmp_path)
    path = tmp_path / "tokenizer.json"
    text = (folder / "tokenizer.json").read_text(encoding="utf-8")
    for damaged, reason in [
        (text[:-9], "is damaged: it is not JSON"),
        (json.dumps({"model": {"type": "BPE"}}), "has no sentence pieces"),
        (text.replace("</s>", "<end>"), "</s> is token None, not 1"),
    ]:
        path.write_text(damaged, encoding="utf-8")
        with pytest.raises(DamagedError, match=re.escape(reason)):
            Umt5Tokenizer.from_folder(tmp_path)


@pytest.mark.parametrize(("library", "file"), [("ftfy", "tokenizer.json"), ("sentencepiece", "spiece.model")])
def test_a_missing_library_says_how_to_get_it(
    library: str, file: str, folder: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    (tmp_path / file).write_bytes((folder / "tokenizer.json").read_bytes())
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingError, match=re.escape("pip install 'scorefield[wan]'")):
        Umt5Tokenizer.from_folder(tmp_path)


def test_a_sentencepiece_model_gives_the_ids_of_its_tokenizer_json(tmp_path: Path) -> None:
    library = pytest.importorskip("sentencepiece")
    written = io.BytesIO()
    library.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS * 20), model_writer=written, vocab_size=90, hard_vocab_limit=False, minloglevel=2,
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, normalization_rule_name="identity",
    )  # fmt: skip
    (tmp_path / "spiece.model").write_bytes(written.getvalue())
    ours = Umt5Tokenizer.from_folder(tmp_path)
    held = library.SentencePieceProcessor(model_proto=written.getvalue())
    pieces = [(held.id_to_piece(k), held.get_score(k)) for k in range(len(ours))]
    T5TokenizerFast(vocab=pieces, extra_ids=0).save_pretrained(tmp_path)
    whole = Umt5Tokenizer.from_folder(tmp_path)
    assert [ours.encode(prompt).tolist() for prompt in CORPUS] == [whole.encode(prompt).tolist() for prompt in CORPUS]
    assert ours.unknown("a ☃ cat") == whole.unknown("a ☃ cat") == ["☃"]
    with pytest.raises(RequestError, match="more than the 511"):
        ours.encode("☃ 猫 " * 200)
    with pytest.raises(DamagedError, match="its sentencepiece model is damaged"):
        Umt5Tokenizer.from_sentencepiece(b"odd", tmp_path)
