"""Textual inversions of Stable Diffusion XL, with vectors for either text encoder: the words are those of diffusers."""

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests import pipelines
from tests.loading import stable, with_embeddings
from tests.tiny import TINY_XL as TINY
from torch import Tensor

from scorefield.api import Pipeline
from scorefield.errors import ScorefieldError
from scorefield.files.picture import read
from scorefield.model.system import System
from scorefield.prompt.conditioner import PromptBatch
from scorefield.request import Embedding

pytestmark = pytest.mark.filterwarnings("ignore::scorefield.notes.UnknownSizeWarning")

PROMPTS = ["a photo of <birb>, in the snow", "<birb> and a <birb> beside <one>", "a dog"]


class Made(NamedTuple):
    peer: Any
    model: System
    birb: str  # of three vectors
    one: str


def drawn(count: int, seed: int) -> Tensor:
    return 0.3 * torch.randn(count, 32, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("xl")
    peer = pipelines.written_xl(folder, TINY)
    for name, count in (("birb", 3), ("one", 1)):
        held = {key: drawn(count, seed + count) for seed, key in enumerate(("clip_l", "clip_g"))}
        save_file(held, folder / f"{name}.safetensors")
    model = stable(folder / "model", torch.device("cpu"), torch.float32, networks=TINY)
    return Made(peer, model, *(str(folder / f"{name}.safetensors") for name in ("birb", "one")))


def read_by(model: System, prompt: str) -> tuple[Tensor, Tensor, Tensor]:
    """The words of the first encoder and of the second, and the summary."""
    batch = PromptBatch(prompts=[prompt], negative_prompt="", seeds=[1], width=64, height=64)
    found = model.stages[0].conditioner.pair(batch)[0].tensors()
    assert found["tokens"].isfinite().all()
    first, second = found["tokens"].chunk(2, -1)
    return first, second, found["pooled"][:, :32]


def test_the_words_and_the_summary_are_those_of_diffusers(made: Made) -> None:
    ours = with_embeddings(made.model, [(made.birb, "<birb>"), (made.one, "<one>")])
    before = [read_by(made.model, prompt) for prompt in PROMPTS]
    for path, token in ((made.birb, "<birb>"), (made.one, "<one>")):
        for key, part in (("clip_l", ""), ("clip_g", "_2")):
            encoder, tokenizer = getattr(made.peer, f"text_encoder{part}"), getattr(made.peer, f"tokenizer{part}")
            vectors = load_file(path)[key]
            made.peer.load_textual_inversion(vectors, token=token, text_encoder=encoder, tokenizer=tokenizer)
    for prompt, plain in zip(PROMPTS, before, strict=True):
        words, _, pooled, _ = made.peer.encode_prompt(prompt, do_classifier_free_guidance=False)
        found = read_by(ours, prompt)
        for one, theirs, without in zip(found, (*words.chunk(2, -1), pooled), plain, strict=True):
            torch.testing.assert_close(one, theirs, rtol=0, atol=1e-5)
            assert bool((one - without).abs().max() > 1e-2) == ("<" in prompt)


def test_a_picture_records_it_and_the_model_lists_it(made: Made, tmp_path: Path) -> None:
    plain = Pipeline(made.model)
    taught = plain.with_embeddings([("<birb>", made.birb)])
    (word,) = taught.embeddings
    assert (word.token, word.vectors, word.path) == ("<birb>", 3, made.birb)
    assert plain.embeddings == ()
    assert taught.tokens("<birb>").tokens == 3
    result = taught("a <birb>", size=64, steps=1, seed=1)
    assert result.request.embeddings == (Embedding(path=made.birb, token="<birb>", sha256=word.sha256),)
    history = read(result.save(tmp_path)[0])[1]
    assert history.a1111 is not None
    assert history.a1111.pairs["TI hashes"] == f"<birb>: {word.sha256[:10]}"


def test_what_is_for_other_encoders_is_one_line(made: Made, tmp_path: Path) -> None:
    def refused(*embeddings: tuple[str, str | None]) -> str:
        with pytest.raises(ScorefieldError) as caught:
            with_embeddings(made.model, embeddings)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    of_one, wide = tmp_path / "one.safetensors", tmp_path / "wide.safetensors"
    save_file({"<birb>": drawn(1, 0)}, of_one)
    save_file({"clip_l": drawn(1, 0), "clip_g": torch.ones(1, 64)}, wide)
    assert refused((str(of_one), None)) == (
        f"{of_one} is for one text encoder; this model has two text encoders, as Stable Diffusion XL has them"
    )
    assert "have 64 numbers, those of this model 32" in refused((str(wide), "<birb>"))
    assert refused((made.birb, None)).endswith(f"choose one, as in birb={made.birb}")
