"""The embedded CLIP pair, contrastive on scenes and their captions. `scorefield train clip`."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from scorefield.data.captions import article
from scorefield.data.film_render import SPOIL, behind
from scorefield.data.film_scenes import film
from scorefield.data.phrases import PLACES
from scorefield.data.render import render
from scorefield.data.scenes import Scene, scene
from scorefield.data.scripts import FRAMES
from scorefield.data.things import NAMES, THINGS
from scorefield.data.vocabulary import words
from scorefield.errors import RequestError
from scorefield.nets.clip import Clip, ClipConfig, TextConfig, VisionConfig
from scorefield.prompt.tokenizer import END, WordTokenizer, build
from scorefield.train.batches import Batch, in_order
from scorefield.train.objective import contrastive
from scorefield.train.optim import Muon, Wsd, hidden_matrices
from scorefield.train.recipe import Count, Progress, Rate, Recipe, Samples
from scorefield.weights import scorefield_file

MANY = -100  # the pictures whose things have two names
TOKENIZER = "scenes-tokenizer.json"
KEPT = 500.0  # the weight of the states that an earlier pair's generator reads


def pixels(pictures: Tensor) -> Tensor:
    """uint8 pictures (B, H, W, 3) as (B, 3, H, W), scaled to [-1, 1]."""
    return pictures.permute(0, 3, 1, 2).float() / 127.5 - 1


def shown(index: int) -> tuple[Scene, np.ndarray]:
    """A scene and its picture: every second has a single thing, and every fourth is a frame of a film."""
    if index % 4 == 0:
        one, k = film(index, 2), index // 4 % FRAMES
        frames = render(one.frame(k), behind=behind(one, k))[None]
        for fault in one.faults:
            frames = SPOIL[fault](frames)
        return one.frame(k), frames[0]
    picture = scene(index, 2, task="single" if index % 2 else None)
    return picture, render(picture)


def named(phrase: str) -> list[str]:
    """A caption for each thing: "a tree" and the phrase for a place."""
    return [f"{article(thing.name)} {thing.name} {phrase}" for thing in THINGS]


def names(module: Clip, tokenizer: WordTokenizer) -> Tensor:
    """A vector for each thing, (things, D): the mean over its captions in all places (Radford et al. 2021, 3.1.4)."""
    vectors = []
    for phrase in (phrases[0] for phrases in PLACES.values()):
        vectors.append(module.encode_text(*tokenizer.encode(named(phrase))))
    return torch.stack(vectors).mean(0)


def naming(module: Clip, tokenizer: WordTokenizer, count: int = 512) -> float:
    """Share of held-out pictures of a single thing, in all styles and sizes, whose nearest name is correct."""
    texts = names(module, tokenizer)
    scenes = [scene(index, 0, "heldout", "single") for index in range(count)]
    right = 0
    for start in range(0, count, 64):
        part = scenes[start : start + 64]
        images = module.encode_image(pixels(torch.from_numpy(np.stack([render(one) for one in part]))))
        best = (images @ texts.T).argmax(1).tolist()
        right += sum(THINGS[k].name == one.nouns[0].thing for k, one in zip(best, part, strict=True))
    return right / count


class Earlier(NamedTuple):
    """An earlier pair in the words of a new tokenizer, and whether it knew each id, (V,) bool."""

    pair: Clip
    known: Tensor


def read_earlier(path: Path, config: ClipConfig, tokenizer: WordTokenizer) -> Earlier:
    """The pair of a file, frozen, its vectors of words in the order of `tokenizer`; a new word's vector is random."""
    tensors, _ = scorefield_file.load(path, "clip")
    theirs, pair = WordTokenizer.from_file(path.parent / TOKENIZER).vocabulary, Clip(config)
    rows, old = torch.tensor([(row, theirs[word]) for word, row in tokenizer.vocabulary.items() if word in theirs]).T
    words = pair.text.tokens.weight.detach().clone()
    words[rows] = tensors["text.tokens.weight"][old].float()
    scorefield_file.fill(pair, tensors | {"text.tokens.weight": words}, torch.float32, path)
    known = torch.zeros(len(tokenizer), dtype=torch.bool)
    known[rows] = True
    return Earlier(pair.requires_grad_(False), known)


def drift(hidden: Tensor, ids: Tensor, mask: Tensor, earlier: Earlier) -> Tensor:
    """The relative squared error of states (B, L, width) to those of an earlier pair.

    The text encoder is causal, so a caption counts up to the first word that the earlier pair does not know.
    """
    with torch.no_grad():
        held = earlier.pair.to(ids.device).text_hidden(ids, mask).float()
    counted = earlier.known.to(ids.device)[ids].int().cumprod(1).bool() & mask
    return (hidden.float() - held)[counted].square().mean() / held[counted].square().mean()


def recipe(
    steps: Count = 1000,
    batch: Samples = 128,
    lr: Rate = 2e-3,
    image_only: Path | None = None,
    start: Path | None = None,
) -> Recipe[Clip]:
    """Train with symmetric cross-entropy over the batch, and over the names of all things for pictures of one thing.

    Within a batch the place alone distinguishes most captions, so they teach little about the things; the names, as a
    second set of captions, do.

    `start` is the file of an earlier pair, with the tokenizer in its folder, that gives the initial weights. Up to the
    first word that it does not know, a caption keeps the states that its text encoder gives, so that a generator
    trained on them still reads them. `image_only` is such a file whose text encoder and words are kept as they are.
    Otherwise the tokenizer has the words of the grammar, and is written next to the weights.
    """
    if start and image_only:
        raise RequestError("start and image_only both give the initial weights; give one")
    tokenizer = WordTokenizer.from_file(image_only.parent / TOKENIZER) if image_only else build(words())
    end = tokenizer.vocabulary[END]
    config = ClipConfig(
        vision=VisionConfig(layers=4, stem="convolutions"), text=TextConfig(vocab_size=len(tokenizer), end_id=end)
    )

    earlier = read_earlier(start, config, tokenizer) if start else None

    def network() -> Clip:
        module = Clip(config)
        if earlier:
            module.load_state_dict(earlier.pair.state_dict())
        if image_only:
            tensors, _ = scorefield_file.load(image_only, "clip")
            text = {name.removeprefix("text."): value for name, value in tensors.items() if name.startswith("text.")}
            scorefield_file.fill(module.text, text, torch.float32, image_only)
            module.text.requires_grad_(False)
        return module

    def make(indices: range) -> Batch:
        scenes, pictures = zip(*(shown(index) for index in indices), strict=True)
        ids, mask = tokenizer.encode([one.caption for one in scenes])
        length = int(mask.sum(1).max())
        phrases = [phrases[0] for phrases in PLACES.values()]
        name_ids, name_mask = tokenizer.encode(named(phrases[indices.start // len(indices) % len(phrases)]))
        return {
            "pictures": torch.from_numpy(np.stack(pictures)),
            "ids": ids[:, :length],
            "mask": mask[:, :length],
            "thing": torch.tensor([NAMES.index(one.nouns[0].thing) if len(one.nouns) == 1 else MANY for one in scenes]),
            "name_ids": name_ids[:, : int(name_mask.sum(1).max())],
            "name_mask": name_mask[:, : int(name_mask.sum(1).max())],
        }

    def loss(module: Clip, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Mapping[str, Tensor]]:
        with sdpa_kernel(SDPBackend.MATH):  # for 65 tokens the gradient of the fused kernel is slower: 13 % of a step
            images = module.encode_image(pixels(batch["pictures"]))
        hidden = module.text_hidden(batch["ids"], batch["mask"])
        texts = F.normalize(module.text.summary(hidden, batch["ids"]).float(), dim=-1)
        found = (images @ texts.T).argmax(1) == torch.arange(len(images), device=images.device)
        things = module.encode_text(batch["name_ids"], batch["name_mask"])
        scores = module.logit_scale.clamp(max=math.log(100)).exp() * images @ things.T
        called = F.cross_entropy(scores.float(), batch["thing"], ignore_index=MANY)
        parts = {"matched": contrastive(images, texts, module.logit_scale), "called": called}
        if earlier:
            parts["drift"] = KEPT * drift(hidden, batch["ids"], batch["mask"], earlier)
        said = {name: part.detach() for name, part in parts.items()}
        return torch.stack([*parts.values()]).sum(), said | {"found": found.float().mean()}

    def optimizer(module: Clip) -> torch.optim.Optimizer:
        return Muon(
            module, hidden_matrices(module, ("projection", "vision.patch.0")), lr, weight_decay=0.05, other_lr=lr / 2
        )

    def finish(module: Clip, progress: Progress) -> Path:
        tokenizer.save(progress.folder / TOKENIZER)
        header = scorefield_file.Header(
            kind="clip",
            config=asdict(config),
            step=progress.step,
            samples=progress.samples,
            figures={"heldout_naming": round(naming(module, tokenizer, 2048), 4)},
        )
        return scorefield_file.save(progress.folder / "scenes-clip.safetensors", module.state_dict(), header)

    return Recipe(
        name="clip",
        build=network,
        batches=in_order(make, batch),
        loss=loss,
        optimizer=optimizer,
        finish=finish,
        steps=steps,
        batch=batch,
        schedule=Wsd(warmup=50, decay=0.3),
        ema=0.995,
        evaluate=lambda module: {"heldout_naming": naming(module, tokenizer)},
        evaluate_every=250,
    )
