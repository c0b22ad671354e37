"""The conversion of a model, or of a part of one, between the published layouts."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from scorefield.adapters.lora_weights import OpenedLora, stacked
from scorefield.conversion import folder_texts
from scorefield.conversion.networks import NORMALIZER, Network, of_model
from scorefield.conversion.part_alone import part_conversion
from scorefield.conversion.wan import Layout, part_of_wan, whole_wan
from scorefield.conversion.writer import METADATA, Constants, Conversion, Piece, WeightsFile, left
from scorefield.errors import DamagedError, UnsupportedError
from scorefield.families.stable_diffusion.build import Recognised, published, recognised, unknown_prediction
from scorefield.families.stable_diffusion.folder_config import schedule
from scorefield.families.stable_diffusion.parts import Parts, parts
from scorefield.families.stable_diffusion.specs import SPECS, Networks
from scorefield.input_files import Json
from scorefield.latent import kl_codec
from scorefield.prompt.bpe import END_ID, ClipTokenizer
from scorefield.request import ModelChoice
from scorefield.weights.checkpoint import Checkpoint
from scorefield.weights.checkpoint_layout import V_PREDICTION, ZERO_SNR
from scorefield.weights.detect.identity import ClipIdentity, Kind, ModelIdentity, VaeIdentity
from scorefield.weights.lora.lora_keys import TEXT, TEXT_2
from scorefield.weights.lora.merge import Stack
from scorefield.weights.model_files import PIPELINE, UNREAD, components

_VOCABULARY = 49408  # tokens of the published tokenizer; a single file cannot store another
_NOT_IN_ONE_FILE = "which a single file cannot store: use the folder"


def conversion(
    path: Path,
    *,
    to: Layout,
    prediction: str | None = None,
    loras: Sequence[OpenedLora] = (),
    networks: Networks | None = None,
) -> Conversion:
    """The conversion of the model or part at `path` to another layout; nothing is written yet.

    - `prediction`: eps or v, for files that do not say what their network predicts.
    - `loras`: LoRAs to merge into the weights.
    - `networks`: the sizes of the networks; by default those that a folder states, or its family's.

    DamagedError for damaged files, UnsupportedError for what has no other layout here.
    """
    checkpoint, to_folder = Checkpoint(path), to == "diffusers"
    if film := whole_wan(checkpoint, to):
        _refuse(path, loras, prediction)
        return film
    if to == "comfyui":
        raise UnsupportedError(f"{path} is no folder of a Wan, and comfyui is the layout of its separate files alone")
    if film := part_of_wan(checkpoint, to_folder=to_folder):
        _refuse(path, loras, prediction)
        return film
    part = checkpoint.identity
    if isinstance(part, VaeIdentity | ClipIdentity) or (isinstance(part, ModelIdentity) and part.kind is Kind.UNET):
        if loras:
            raise UnsupportedError(f"{path} is only part of a model ({part.kind}); LoRAs need a whole one")
        return part_conversion(checkpoint, part, to_folder=to_folder)
    model = recognised(checkpoint, networks)
    if model is None:
        raise UnsupportedError(
            f"{path} is neither a Stable Diffusion nor a Wan, nor a part of one: `scorefield inspect` says more"
        )
    found = model.found
    if found.missing:
        raise UnsupportedError(f"{path} lacks its {' and its '.join(found.missing)}; get it whole")
    output = prediction or (found.prediction.value if found.prediction else None)
    if to_folder and output not in ("eps", "v"):
        raise UnsupportedError(f"{path}: {unknown_prediction(found)}")
    whole = _whole(model, output, loras)
    return _folder(whole) if to_folder else _one_file(whole)


def _refuse(path: Path, loras: Sequence[OpenedLora], prediction: str | None) -> None:
    """UnsupportedError for what a conversion of Wan does not do."""
    if loras:
        raise UnsupportedError(f"{path} is a Wan, or a part of one: LoRAs are merged into Stable Diffusion alone")
    if prediction:
        raise UnsupportedError(f"{path} is a Wan, or a part of one: prediction applies to Stable Diffusion alone")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Whole:
    """A whole model to be converted: its networks, and what a layout stores besides their weights."""

    model: Recognised
    places: Parts
    networks: Sequence[Network]
    prediction: str | None
    scheduler: Mapping[str, Json]  # the setting that states its schedule
    stack: Stack

    @property
    def tokenizers(self) -> dict[str, ClipTokenizer]:
        """By their names in a folder."""
        second = {"tokenizer_2": self.places.second.tokenizer} if self.places.second else {}
        return {"tokenizer": self.places.tokenizer, **second}

    def pieces(self, *, to_folder: bool) -> list[Piece]:
        """The piece of each network, with its LoRAs."""
        stack = self.stack
        return [one.piece(to_folder=to_folder, change=partial(stack.merged, one.part)) for one in self.networks]

    def left(self, pieces: Sequence[Piece]) -> dict[str, int]:
        """Everything of the model and its LoRAs that `pieces` leave out, in words, with the number of tensors."""
        unused = {f"keys of {one.path} that fit no layer": len(keys) for one, keys in self.stack.unused.items() if keys}
        return {**left(pieces), **_aside(self.model.checkpoint.path), **unused}


def _whole(model: Recognised, prediction: str | None, loras: Sequence[OpenedLora]) -> _Whole:
    checkpoint, found, networks = model.checkpoint, model.found, model.networks
    path = checkpoint.path
    places = parts(checkpoint, networks, ModelChoice())
    texts = {TEXT: places.encoder.text} | ({TEXT_2: networks.text_2.text} if networks.text_2 else {})
    spec = SPECS.get(found.family, {}).get(prediction or "")
    stated = schedule(checkpoint.folder.scheduler or {}) if checkpoint.is_folder else None
    whole = _Whole(
        model=model,
        places=places,
        networks=of_model(networks, places, spec.defaults.width if spec else 512),
        prediction=prediction,
        scheduler=stated[1] if stated else {},
        stack=stacked(networks.unet, texts, loras),
    )
    for tokenizer in whole.tokenizers.values():
        if len(tokenizer) != _VOCABULARY:
            raise UnsupportedError(
                f"{path} has {len(tokenizer)} tokens in its tokenizer, not the {_VOCABULARY} of the layouts: remove "
                "its added words, and give them as textual inversions"
            )
        if not _published_words(tokenizer):
            raise UnsupportedError(f"{path} has a vocabulary of its own, which cannot be converted: use the folder")
    return whole


def _unsaid(whole: _Whole) -> Iterator[str]:
    """Yield, in words, everything that the folder states about its model and a single file cannot."""
    networks, known = whole.model.networks, published(whole.model.found)
    if networks.latents and networks.latents != kl_codec.published(xl=networks.text_2 is not None):
        yield f"has latents of its own (vae scaling_factor {networks.latents.factor:g}), {_NOT_IN_ONE_FILE}"
    if known and (known.text, known.text_2) != (networks.text, networks.text_2):
        sizes = f"{whole.model.found.family} ({networks.text.text.layers} layers)"
        yield f"has text encoders of other sizes than {sizes}, {_NOT_IN_ONE_FILE}"
    if whole.places.second and not whole.places.second.blank:
        yield (
            f"encodes an empty negative prompt instead of zeroing it, {_NOT_IN_ONE_FILE}, or set "
            "force_zeros_for_empty_prompt to true in its model_index.json"
        )
    pad_ids = (0 if whole.places.encoder.activation == "gelu" else END_ID, 0)  # that a single file implies
    for tokenizer, pad_id in zip(whole.tokenizers.values(), pad_ids, strict=False):
        if tokenizer.pad_id != pad_id:
            pad = _pad(tokenizer)
            yield f"pads prompts with {pad!r}, {_NOT_IN_ONE_FILE}"


def _one_file(whole: _Whole) -> Conversion:
    if reason := next(_unsaid(whole), None):
        raise UnsupportedError(f"{whole.model.checkpoint.path} {reason}")
    zero_snr = whole.model.found.zero_snr
    pieces = whole.pieces(to_folder=False)
    stated = {"modelspec.prediction_type": "epsilon" if whole.prediction == "eps" else "v"} if whole.prediction else {}
    marks = {V_PREDICTION: whole.prediction == "v", ZERO_SNR: zero_snr}
    markers = Constants({name: torch.zeros(0) for name, holds in marks.items() if holds})
    file = WeightsFile(name="", pieces=[*pieces, markers], metadata=METADATA | stated)
    setting = {f"the scheduler's {name} {value}": 1 for name, value in whole.scheduler.items() if not zero_snr}
    return Conversion(files=(file,), texts={}, left=whole.left(pieces) | setting)


def _folder(whole: _Whole) -> Conversion:
    networks, pieces = whole.model.networks, whole.pieces(to_folder=True)
    files: dict[str, Piece | Constants] = {
        f"{one.part}/{one.file_name}": piece for one, piece in zip(whole.networks, pieces, strict=True)
    }
    configs = {one.part: one.config for one in whole.networks}
    if networks.image_clip and NORMALIZER not in configs:  # a single file with ViT-H leaves its statistics out: 0 and 1
        width = networks.image_clip.embed_dim
        configs[NORMALIZER] = folder_texts.normalizer(width)
        constants = Constants({"mean": torch.zeros(1, width), "std": torch.ones(1, width)})
        files[f"{NORMALIZER}/diffusion_pytorch_model.safetensors"] = constants
    steps = folder_texts.scheduler(
        whole.prediction or "eps", zero_snr=whole.model.found.zero_snr, xl=networks.text_2 is not None
    )
    return Conversion(
        files=[WeightsFile(name=name, pieces=(one,), metadata=METADATA) for name, one in files.items()],
        texts=folder_texts.pipeline(
            inpaints=networks.unet.in_channels == 9,
            steps={**steps, **whole.scheduler},
            networks=configs,
            pads={name: _pad(one) for name, one in whole.tokenizers.items()},
            blank=whole.places.second is None or whole.places.second.blank,
        ),
        left=whole.left(pieces),
    )


def _pad(tokenizer: ClipTokenizer) -> str:
    word: str | None = tokenizer.tokenizer.id_to_token(tokenizer.pad_id)
    if word is None:
        raise DamagedError(f"the tokenizer pads prompts with {tokenizer.pad_id}, which is not one of its tokens")
    return word


def _published_words(tokenizer: ClipTokenizer) -> bool:
    """Whether its words and merges are CLIP's."""
    own, known = (json.loads(one.tokenizer.to_str())["model"] for one in (tokenizer, ClipTokenizer.packaged()))
    return bool(own["vocab"] == known["vocab"] and own["merges"] == known["merges"])


def _aside(path: Path) -> dict[str, int]:
    """The parts of a folder that are not converted, since drawing does not need them."""
    if not (path / PIPELINE).is_file():
        return {}
    named = components(path)
    if named.get("image_encoder"):  # a feature extractor for it is no loss: it is the same in every model
        return {}
    return {name: 1 for name in UNREAD if named.get(name)}
