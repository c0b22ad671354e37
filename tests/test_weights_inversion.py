"""Files of textual inversions: every published form gives its vectors, and whatever is wrong is one line."""

import base64
import hashlib
import json
import os
import resource
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.torch import save_file
from torch import Tensor, nn

from scorefield.errors import DamagedError, RequestError, ScorefieldError, UnsupportedError
from scorefield.weights.textual_inversion import TextualInversionFile

VECTORS = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
Write = Callable[[Path, Tensor], None]


def a1111(path: Path, vectors: Tensor, **more: object) -> None:
    """As A1111's training writes it, with the numbers of the token beside the vectors."""
    told = {"string_to_token": {"*": 265}, "step": 500, "sd_checkpoint": "7460a6fa", "sd_checkpoint_name": "sd"}
    torch.save(told | {"string_to_param": {"*": vectors}, "name": "birb"} | more, path)


def first_a1111(path: Path, vectors: Tensor) -> None:
    """As the first training code wrote it: a dictionary of parameters, and of tensors for the tokens."""
    held = nn.ParameterDict({"*": nn.Parameter(vectors)})
    torch.save({"string_to_token": {"*": torch.tensor(265)}, "string_to_param": held}, path)


def png(path: Path, vectors: Tensor, name: str = "sd-ti-embedding") -> None:
    told = {"string_to_token": {"*": 265}, "name": "birb", "step": 5}
    told |= {"string_to_param": {"*": {"TORCHTENSOR": vectors.tolist()}}}
    text = PngInfo()
    text.add_text("Comment", "a picture")
    text.add_text(name, base64.b64encode(json.dumps(told).encode()).decode())
    Image.new("RGB", (8, 8)).save(path, pnginfo=text)


FORMS: dict[str, tuple[str, Write, str | None]] = {  # a file's ending, who writes it, the token that it names
    "diffusers": ("bin", lambda path, it: torch.save({"<birb>": it}, path), "<birb>"),
    "diffusers, a parameter": ("bin", lambda path, it: torch.save({"<birb>": nn.Parameter(it)}, path), "<birb>"),
    "diffusers, before 1.6": (
        "bin", lambda path, it: torch.save({"<birb>": it}, path, _use_new_zipfile_serialization=False), "<birb>"
    ),
    "diffusers, safetensors": ("safetensors", lambda path, it: save_file({"<birb>": it}, path), "<birb>"),
    "A1111": ("pt", a1111, "birb"),
    "A1111, the first": ("pt", first_a1111, None),
    "A1111, safetensors": ("safetensors", lambda path, it: save_file({"emb_params": it}, path), None),
    "A1111, a picture": ("png", png, "birb"),
    "a bare tensor": ("pt", lambda path, it: torch.save(it, path), None),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("count", [1, 3])
def test_every_published_form_gives_its_vectors_and_its_word(tmp_path: Path, form: str, count: int) -> None:
    ending, write, token = FORMS[form]
    path = tmp_path / f"file.{ending}"
    write(path, VECTORS[:count].clone())
    found = TextualInversionFile(path)
    assert (found.path, found.word().token) == (path, token)
    (vectors,) = found.word().vectors
    assert vectors.dtype == torch.float32
    torch.testing.assert_close(vectors, VECTORS[:count], rtol=0, atol=0)
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_for_two_text_encoders_gives_the_vectors_of_each(tmp_path: Path) -> None:
    save_file({"clip_g": VECTORS.half(), "clip_l": VECTORS[:, :8].clone()}, tmp_path / "xl.safetensors")
    found = TextualInversionFile(tmp_path / "xl.safetensors")
    assert found.word().token is None
    first, second = found.word().vectors
    assert torch.equal(first, VECTORS[:, :8])
    assert torch.equal(second, VECTORS.half().float())


def test_one_vector_may_be_a_row_or_a_plain_list_of_numbers(tmp_path: Path) -> None:
    torch.save({"<birb>": VECTORS[0].half()}, tmp_path / "learned_embeds.bin")
    assert torch.equal(
        TextualInversionFile(tmp_path / "learned_embeds.bin").word().vectors[0], VECTORS[:1].half().float()
    )


def test_a_folder_as_diffusers_writes_it_is_read_the_safe_file_first(tmp_path: Path) -> None:
    torch.save({"<bin>": VECTORS}, tmp_path / "learned_embeds.bin")
    assert TextualInversionFile(tmp_path).word().token == "<bin>"
    save_file({"<safe>": VECTORS}, tmp_path / "learned_embeds.safetensors")
    assert TextualInversionFile(tmp_path).path == tmp_path / "learned_embeds.safetensors"


def test_what_is_read_does_not_hang_on_the_file(tmp_path: Path) -> None:
    path = tmp_path / "birb.bin"
    torch.save({"<birb>": VECTORS}, path)
    found = TextualInversionFile(path)
    path.write_bytes(bytes(path.stat().st_size))
    assert torch.equal(found.word().vectors[0], VECTORS)


class _Runs:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("code of a file was run",)


BAD: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "missing": ("bin", lambda path: None, "no such file"),
    "empty": ("bin", lambda path: path.write_bytes(b""), "is empty"),
    "cut": ("bin", lambda path: path.write_bytes(b"PK\x03\x04 and no more"), "damaged, cut off"),
    "code": ("pt", lambda path: torch.save({"<a>": _Runs()}, path), "code in a file is never run"),
    "a network": (
        "safetensors", lambda path: save_file({"a.weight": VECTORS, "b": torch.ones(2)}, path), "is not a textual"
    ),
    "two words": ("bin", lambda path: torch.save({"<a>": VECTORS, "<b>": VECTORS[0]}, path), r"2 words \(<a>, <b>\)"),
    "two lengths": (
        "safetensors", lambda path: save_file({"clip_l": VECTORS, "clip_g": torch.ones(1, 8)}, path),
        "has 1 and 3 vectors for its two text encoders",
    ),
    "whole numbers": ("bin", lambda path: torch.save({"<a>": torch.ones(2, 3, dtype=torch.int64)}, path), "int64"),
    "a cube": ("bin", lambda path: torch.save({"<a>": torch.ones(2, 3, 4)}, path), r"\(2, 3, 4\)"),
    "a plain picture": ("png", lambda path: png(path, VECTORS, name="parameters"), "without a textual inversion"),
    "a ragged picture": ("png", lambda path: png(path, torch.tensor(1.0)), "its tensor is"),
    "a folder": ("d", lambda path: path.mkdir(), "a folder without learned_embeds"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_what_is_wrong_with_a_file_is_one_line_that_names_it(
    tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ending, write, told = BAD[what]
    path = tmp_path / f"file.{ending}"
    write(path)
    with pytest.raises(ScorefieldError, match=told) as caught:
        TextualInversionFile(path).word()
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("form", FORMS)
def test_a_damaged_file_gives_an_error_or_vectors_of_the_right_shape(tmp_path: Path, form: str) -> None:
    ending, write, _ = FORMS[form]
    path = tmp_path / f"file.{ending}"
    write(path, VECTORS.clone())
    whole = path.read_bytes()
    for place in range(8, len(whole), max(1, len(whole) // 40)):
        flipped = bytearray(whole)
        flipped[place] ^= 0x11
        for damaged in (whole[:place], bytes(flipped)):
            path.write_bytes(damaged)
            with suppress(ScorefieldError):
                (vectors,) = TextualInversionFile(path).word().vectors
                assert vectors.shape == VECTORS.shape
                assert ending != "png" or torch.equal(vectors, VECTORS)  # its parts carry checksums


def test_a_file_of_several_words_gives_each_by_its_token(tmp_path: Path) -> None:
    held = {"<a>": VECTORS, "<b>": VECTORS[0], "<c>": VECTORS[1:]}
    star = {"string_to_param": {"<a>": VECTORS, "<b>": VECTORS[0], "<c>": VECTORS[1:]}, "name": "file"}
    torch.save(held, tmp_path / "diffusers.bin")
    save_file({name: one.clone() for name, one in held.items()}, tmp_path / "words.safetensors")
    torch.save(star, tmp_path / "a1111.pt")
    for path in tmp_path.iterdir():
        file = TextualInversionFile(path)
        assert sorted(str(word.token) for word in file.words) == ["<a>", "<b>", "<c>"]
        for token, vectors in held.items():
            word = file.word(token)
            assert word.token == token
            assert torch.equal(word.vectors[0], vectors.reshape(-1, 32))
        with pytest.raises(RequestError, match=r"holds 3 words \(<a>, <b>, <c>\): say which, as <a>="):
            file.word()
        with pytest.raises(RequestError, match="holds no word '<d>'; it holds <a>, <b>, <c>"):
            file.word("<d>")


@pytest.mark.parametrize("names", [("clip_l", "clip_g"), ("text_encoders_0", "text_encoders_1")])
def test_the_words_of_pivotal_tuning_are_one_of_several_vectors(tmp_path: Path, names: tuple[str, str]) -> None:
    save_file(dict(zip(names, (VECTORS[:, :8].clone(), VECTORS.clone()), strict=True)), tmp_path / "xl.safetensors")
    (word,) = TextualInversionFile(tmp_path / "xl.safetensors").words
    assert word.token is None
    assert [tuple(one.shape) for one in word.vectors] == [(3, 8), (3, 32)]
    save_file({names[0]: VECTORS}, tmp_path / "one.safetensors")
    (word,) = TextualInversionFile(tmp_path / "one.safetensors").words
    assert word.token is None  # the name of the encoder is no word
    assert torch.equal(word.vectors[0], VECTORS)


def _states(vectors: Tensor) -> dict[str, Callable[[], object]]:
    """States of a training, as optimizers and training programs save them beside a word."""
    weight = nn.Parameter(vectors.clone())
    weight.grad = torch.ones_like(weight)
    optimizers = {"adam": torch.optim.AdamW([weight]), "sgd": torch.optim.SGD([weight], lr=1, momentum=0.9)}
    for one in optimizers.values():
        one.step()
    made: dict[str, Callable[[], object]] = {
        name: (lambda one=one: {"hash": "7460a6fa", "optimizer_state_dict": one.state_dict()})
        for name, one in optimizers.items()
    }
    return made | {"bare": lambda: optimizers["sgd"].state_dict(), "one": lambda: {"exp_avg": vectors}}


@pytest.mark.parametrize("kind", ["adam", "sgd", "bare", "one"])
def test_the_state_of_a_training_is_no_word(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "birb.pt.optim"
    torch.save(_states(VECTORS)[kind](), path)
    with pytest.raises(UnsupportedError, match="is not a textual inversion: it is the state of an optimizer"):
        TextualInversionFile(path)


@pytest.mark.parametrize("number", [torch.nan, torch.inf, -torch.inf])
def test_a_word_that_was_spoilt_in_training_is_refused(tmp_path: Path, number: float) -> None:
    spoilt = VECTORS.clone()
    spoilt[1, 3] = number
    torch.save({"<a>": spoilt}, tmp_path / "a.bin")
    with pytest.raises(DamagedError, match="holds a number that is not finite; its training went wrong"):
        TextualInversionFile(tmp_path / "a.bin")


def test_a_large_picture_is_not_decoded_for_its_word(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    png(path, VECTORS)
    data = bytearray(path.read_bytes())
    data[16:24] = (60_000).to_bytes(4) * 2  # width and height: 10 GB of pixels
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4)
    path.write_bytes(data)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert torch.equal(TextualInversionFile(path).word().vectors[0], VECTORS)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB


@pytest.mark.parametrize(
    "text", ["[]", "7", '{"string_to_param": []}', '{"string_to_param": {"*": {"TORCHTENSOR": [[1, 2], [3]]}}}',
             '{"string_to_param": {"*": {"TORCHTENSOR": "x"}}}', "[" * 5000, '{"string_to_param": {}}',
             '{"string_to_param": {"*": {"TORCHTENSOR": [[' + "9" * 400 + "]]}}}"],
)  # fmt: skip
def test_a_picture_whose_text_has_another_shape_is_one_line(tmp_path: Path, text: str) -> None:
    held = PngInfo()
    held.add_text("sd-ti-embedding", base64.b64encode(text.encode()).decode())
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png", pnginfo=held)
    with pytest.raises(DamagedError, match=r"^[^\n]*carries a textual inversion that cannot be read \([^\n]*$"):
        TextualInversionFile(tmp_path / "a.png")


def test_a_word_of_gigabytes_is_refused_unread(tmp_path: Path) -> None:
    path, before = tmp_path / "large.safetensors", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    header = json.dumps({"<a>": {"dtype": "F16", "shape": [10**6, 1000], "data_offsets": [0, 2 * 10**9]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    os.truncate(path, 8 + len(header) + 2 * 10**9)  # of zeros, which take no room on the disk
    with pytest.raises(UnsupportedError, match=r"holds no word vectors: its tensor is \(1000000, 1000\) F16"):
        TextualInversionFile(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB
