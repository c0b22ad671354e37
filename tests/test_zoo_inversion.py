"""Models with textual inversions: the states that diffusers gives, and the model itself as it was."""

import functools
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
import transformers
from safetensors.torch import save_file
from tests.loading import with_embeddings
from tests.networks import read_ours
from torch import Tensor, nn

from scorefield.core.denoiser import Preconditioned
from scorefield.errors import ScorefieldError
from scorefield.families.stable_diffusion.specs import STABLE_1
from scorefield.latent.kl_codec import KlCodec
from scorefield.latent.latent_codec import PictureCodec
from scorefield.model.system import System
from scorefield.nets.clip import EncoderConfig, TextConfig, TextEncoder
from scorefield.nets.kl import Kl, KlConfig
from scorefield.prompt.bpe import ClipTokenizer
from scorefield.prompt.published import PublishedConditioner
from scorefield.request import ModelChoice
from scorefield.stages.diffusion import Diffusion
from scorefield.weights.key_maps import clip_keys

LETTERS = "abcdefghijklmnopqrstuvwxyz<>-_0123456789'.,:()"
WORDS = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS), "ca", "cat</w>", "<|startoftext|>", "<|endoftext|>"]
MERGES = [("c", "a"), ("ca", "t</w>")]
PROMPTS = [  # in lower case: of a word with capitals diffusers reads the first vector alone
    "a photo of <birb>", "a photo of a <birb>, cat", "a<birb>cat <birb>-2", "<birb><one>", "<one> in (the <birb>:1)",
    "easynegative, a cat", "A PHOTO OF easynegative's <ONE>", "a cat", "",
]  # fmt: skip


class Peer(diffusers.loaders.TextualInversionLoaderMixin):  # type: ignore[misc]
    """The part of a diffusers pipeline that reads prompts, of random weights and a vocabulary of letters."""

    def __init__(self) -> None:
        self.components: dict[str, object] = {}
        self.hf_device_map = None
        self.tokenizer = transformers.CLIPTokenizer(
            vocab={word: row for row, word in enumerate(WORDS)},
            merges=MERGES,
            model_max_length=77, pad_token="<|endoftext|>",
        )  # fmt: skip
        torch.manual_seed(0)
        self.text_encoder = transformers.CLIPTextModel(
            transformers.CLIPTextConfig(
                vocab_size=len(WORDS), hidden_size=16, intermediate_size=64, num_hidden_layers=2,
                num_attention_heads=2, eos_token_id=len(WORDS) - 1, bos_token_id=len(WORDS) - 2,
            )
        ).eval().requires_grad_(False)  # fmt: skip
        for weight in self.text_encoder.parameters():
            weight.normal_(std=0.3)

    def states(self, prompts: list[str]) -> Tensor:
        written = [self.maybe_convert_prompt(prompt, self.tokenizer) for prompt in prompts]
        ids = self.tokenizer(written, padding="max_length", max_length=77, truncation=True, return_tensors="pt")
        found: Tensor = self.text_encoder(ids["input_ids"])[0]
        return found


@functools.cache
def model() -> System:
    """A model of the peer's text encoder and vocabulary."""
    text = TextConfig(width=16, layers=2, heads=2, context_length=77, vocab_size=len(WORDS), end_id=len(WORDS) - 1)
    encoder = TextEncoder(EncoderConfig(text=text)).eval().requires_grad_(False)
    held = Peer().text_encoder.state_dict()
    inner = "text_model." if any(key.startswith("text_model.") for key in held) else ""
    listed = list(clip_keys.transformers_text(text, projected=False, prefix=inner))
    encoder.load_state_dict(read_ours(encoder.state_dict(), listed, held.__getitem__))
    vocabulary = {word: row for row, word in enumerate(WORDS)}
    tokenizer = ClipTokenizer(vocabulary, MERGES, pad_id=len(WORDS) - 1)
    stage = Diffusion(
        spec=STABLE_1,
        denoiser=Preconditioned(nn.Identity(), STABLE_1.prediction, STABLE_1.clock),
        conditioner=PublishedConditioner(tokenizer, encoder),
        codec=PictureCodec(KlCodec(Kl(KlConfig(width=32, multipliers=(1, 1, 1, 1), resblocks=1)))),
        device=torch.device("cpu"),
    )
    return System(
        choice=ModelChoice(), stages=(stage,), device=torch.device("cpu"), dtype=torch.float32, sha256="0" * 64
    )


def states(of: System, prompts: list[str]) -> Tensor:
    tokens = of.stages[0].conditioner(prompts).tokens
    assert tokens is not None
    assert tokens.isfinite().all()
    return tokens


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Published files of each form: three vectors, one, and two of A1111's."""
    folder = tmp_path_factory.mktemp("embeddings")
    drawn = torch.randn(6, 16, generator=torch.Generator().manual_seed(0))
    torch.save({"<birb>": drawn[:3].clone()}, folder / "birb.bin")
    save_file({"<one>": drawn[3].clone()}, folder / "one.safetensors")
    torch.save(
        {"string_to_token": {"*": 265}, "string_to_param": {"*": drawn[4:].clone()}, "name": "easynegative"},
        folder / "EasyNegative.pt",
    )
    save_file({"emb_params": drawn[4:].clone()}, folder / "EasyNegative.safetensors")
    return {path.name: str(path) for path in folder.iterdir()}


def test_the_states_are_those_of_diffusers(files: dict[str, str]) -> None:
    peer: Any = Peer()
    torch.testing.assert_close(states(model(), PROMPTS), peer.states(PROMPTS), rtol=0, atol=1e-5)
    named = [files[name] for name in ("birb.bin", "one.safetensors", "EasyNegative.pt")]
    for path in named:
        peer.load_textual_inversion(path)
    ours = states(with_embeddings(model(), [(path, None) for path in named]), PROMPTS)
    theirs = peer.states(PROMPTS)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    plain = (ours - states(model(), PROMPTS)).abs().amax((1, 2))
    assert (plain[:7] > 1e-2).all()
    assert (plain[7:] == 0).all()


def test_a_word_may_be_written_in_any_case(files: dict[str, str]) -> None:
    taught = with_embeddings(model(), [(files[name], None) for name in ("birb.bin", "EasyNegative.pt")])
    written = states(taught, ["a <birb>, EasyNegative", "a <Birb>, easynegative", "A <BIRB>, EASYNEGATIVE"])
    assert torch.equal(written[0], written[1])
    assert torch.equal(written[0], written[2])


def test_a_token_of_ones_own_takes_the_place_of_the_files(files: dict[str, str]) -> None:
    peer: Any = Peer()
    peer.load_textual_inversion(files["birb.bin"], token="<style>")
    ours = with_embeddings(model(), [(files["birb.bin"], "<style>")])
    prompts = ["in the <style> of <birb>", "a cat"]
    torch.testing.assert_close(states(ours, prompts), peer.states(prompts), rtol=0, atol=1e-5)


def test_a_model_says_what_it_was_taught_and_the_one_before_knows_nothing_of_it(files: dict[str, str]) -> None:
    before = states(model(), PROMPTS)
    taught = with_embeddings(model(), [(files["birb.bin"], None), (files["EasyNegative.safetensors"], "easy")])
    assert [(one.token, one.vectors, one.path) for one in taught.embeddings] == [
        ("<birb>", 3, files["birb.bin"]), ("easy", 2, files["EasyNegative.safetensors"])
    ]  # fmt: skip
    assert all(len(one.sha256) == 64 for one in taught.embeddings)
    assert model().embeddings == ()
    assert torch.equal(states(model(), PROMPTS), before)
    assert taught.stages[0].denoiser is model().stages[0].denoiser
    again = with_embeddings(taught, [(files["one.safetensors"], None)])
    assert [one.token for one in again.embeddings] == ["<one>"]
    assert torch.equal(states(again, ["a <birb>"]), states(model(), ["a <birb>"]))


def test_what_a_model_cannot_take_is_one_line(files: dict[str, str], tmp_path: Path) -> None:
    def refused(*embeddings: tuple[str, str | None]) -> str:
        with pytest.raises(ScorefieldError) as caught:
            with_embeddings(model(), embeddings)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    second = tmp_path / "of-2.bin"
    torch.save({"<second>": torch.ones(1, 24)}, second)
    bare, of_xl = files["EasyNegative.safetensors"], tmp_path / "xl.safetensors"
    save_file({"clip_l": torch.ones(1, 16), "clip_g": torch.ones(1, 24)}, of_xl)
    assert refused((str(of_xl), "<xl>")) == (
        f"{of_xl} is for two text encoders, as Stable Diffusion XL has them; this model has one text encoder"
    )
    assert refused((bare, None)).endswith(f"choose one, as in EasyNegative={bare}")
    assert refused((files["birb.bin"], "cat")).startswith("'cat' is already a word of this model")
    assert "two learned words are called" in refused((files["birb.bin"], None), (files["one.safetensors"], "<BIRB>"))
    assert "have 24 numbers, those of this model 16" in refused((str(second), None))
    assert "no such file" in refused(("nowhere.bin", None))
