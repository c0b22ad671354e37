"""The conversion of a model, or of a part of one, between the published layouts: diffusers' folder and one ldm file."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from scorefield.adapters.lora_weights import OpenedLora, stacked
from scorefield.conversion import folder_texts
from scorefield.conversion.component import part_conversion
from scorefield.conversion.components import NORMALIZER, Network, common, image_tower, second_text_tower, statistics
from scorefield.conversion.diffusers_config import normalizer
from scorefield.conversion.writer import METADATA, Constants, Conversion, Piece, WeightsFile, left
from scorefield.errors import DamagedError, UnsupportedError
from scorefield.families.stable_diffusion import image_encoder, second_encoder
from scorefield.families.stable_diffusion.build import Recognised, published, recognised
from scorefield.families.stable_diffusion.parts import parts
from scorefield.families.stable_diffusion.settings import schedule
from scorefield.families.stable_diffusion.specs import SPECS, Networks
from scorefield.input_files import Json
from scorefield.latent.kl_codec import SCALE, XL_SCALE, Latents
from scorefield.prompt.bpe import END_ID, ClipTokenizer
from scorefield.request import ModelChoice
from scorefield.weights.checkpoint import Checkpoint
from scorefield.weights.checkpoint_layout import V_PREDICTION, ZERO_SNR
from scorefield.weights.detect.identity import ClipIdentity, Kind, ModelIdentity, VaeIdentity
from scorefield.weights.lora.layout import TEXT, TEXT_2
from scorefield.weights.lora.merge import Stack
from scorefield.weights.model_files import PIPELINE, UNREAD, components

_VOCABULARY = 49408  # tokens of the published tokenizer: a single file has none of its own to say otherwise


def conversion(
    path: Path,
    *,
    to_folder: bool,
    prediction: str | None = None,
    loras: Sequence[OpenedLora] = (),
    networks: Networks | None = None,
) -> Conversion:
    """The conversion of the model or part at `path` to a diffusers folder or one ldm file; nothing is written yet.

    - `prediction`: eps or v, for files that do not say what their network predicts.
    - `loras`: LoRAs that go into the weights.
    - `networks`: None for those of its family, or for those that a folder states.

    DamagedError for damaged files, UnsupportedError for what has no other layout here.
    """
    checkpoint = Checkpoint(path)
    part = checkpoint.identity
    if isinstance(part, VaeIdentity | ClipIdentity) or (isinstance(part, ModelIdentity) and part.kind is Kind.UNET):
        if loras:
            raise UnsupportedError(f"{path} is {part.kind} alone; LoRAs go into a whole model")
        return part_conversion(checkpoint, part, to_folder=to_folder)
    model = recognised(checkpoint, networks)
    if model is None:
        raise UnsupportedError(
            f"{path} is neither a Stable Diffusion nor a part of one: `scorefield inspect` says more"
        )
    found = model.found
    if found.missing:
        raise UnsupportedError(f"{path} lacks its {' and its '.join(found.missing)}; get it whole")
    output = prediction or (found.prediction.value if found.prediction else None)
    if to_folder and output not in ("eps", "v"):
        why = found.prediction.why if found.prediction else "nothing tells what it predicts: say eps or v"
        raise UnsupportedError(f"{path}: {why} (prediction='v', or --prediction v)")
    whole = _whole(model, output, loras)
    if to_folder:
        return _folder(whole, model.networks)
    if reason := _unsaid(model):
        raise UnsupportedError(f"{path} {reason}, which one file cannot say: draw with the folder")
    return _one_file(whole)


def _unsaid(model: Recognised) -> str | None:
    """What a folder states of its networks and no single file does, in words; None for nothing."""
    networks, known = model.networks, published(model.found)
    if networks.latents not in (None, Latents(XL_SCALE if networks.text_2 else SCALE)):
        return f"has latents of its own (vae scaling_factor {networks.latents.factor:g})"
    if known and (known.text, known.text_2) != (networks.text, networks.text_2):
        return f"has text encoders of other sizes than {model.found.family} ({networks.text.text.layers} layers)"
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Whole:
    """A whole model to be converted: its networks, and what a layout stores besides their weights."""

    path: Path
    networks: Sequence[Network]
    tokenizers: Mapping[str, ClipTokenizer]  # by their names in a folder
    pad_ids: Sequence[int]  # the padding token that a single file implies, for each of the tokenizers
    prediction: str | None
    zero_snr: bool
    blank: bool  # of XL: see `XlConditioner`
    scheduler: Mapping[str, Json]  # what it states of the schedule
    stack: Stack

    def left(self, pieces: Sequence[Piece]) -> Mapping[str, int]:
        """Everything of the model and its LoRAs that `pieces` leave out, in words, with the number of tensors."""
        return dict(left(pieces)) | _aside(self.path) | _unused(self.stack)


def _whole(model: Recognised, prediction: str | None, loras: Sequence[OpenedLora]) -> _Whole:
    checkpoint, found, networks, path = model.checkpoint, model.found, model.networks, model.checkpoint.path
    places = parts(checkpoint, networks, ModelChoice())
    texts = {TEXT: places.encoder.text} | ({TEXT_2: networks.text_2.text} if networks.text_2 else {})
    stack = stacked(networks.unet, texts, loras)
    spec = SPECS.get(found.family, {}).get(prediction or "")
    side = spec.defaults.width if spec else 512
    upcast = side == 768  # as published, for its attention's large numbers
    nets, tokenizers, blank = [*common(networks, places, stack, side=side, upcast=upcast)], [places.tokenizer], True
    if networks.text_2:
        second = second_encoder.second(checkpoint, networks.text_2)
        nets.append(second_text_tower(networks.text_2, second.place, stack))
        tokenizers, blank = [places.tokenizer, second.tokenizer], second.blank
    if networks.image_clip:
        tower_place, statistics_place = image_encoder.files(checkpoint, networks.image_clip)
        nets.append(image_tower(networks.image_clip, tower_place))
        nets += [statistics(networks.image_clip.embed_dim, statistics_place)] if statistics_place else []
    stated = schedule(checkpoint.folder.scheduler or {}) if checkpoint.is_folder else None
    if odd := [len(one) for one in tokenizers if len(one) != _VOCABULARY]:
        raise UnsupportedError(
            f"{path} has {odd[0]} tokens in its tokenizer, where the layouts have {_VOCABULARY}: take its added words "
            "out, and give them as textual inversions"
        )
    if any(not _published_words(one) for one in tokenizers):
        raise UnsupportedError(f"{path} has a vocabulary of its own, which is not converted: draw with the folder")
    return _Whole(
        path=path,
        networks=nets,
        tokenizers=dict(zip(("tokenizer", "tokenizer_2"), tokenizers, strict=False)),
        pad_ids=(0 if places.encoder.activation == "gelu" else END_ID, 0),
        prediction=prediction,
        zero_snr=found.zero_snr,
        blank=blank,
        scheduler=stated[1] if stated else {},
        stack=stack,
    )


def _one_file(whole: _Whole) -> Conversion:
    if not whole.blank:
        raise UnsupportedError(
            f"{whole.path} leads away from the empty prompt where no negative one is given, which one file cannot say: "
            "draw with the folder, or have force_zeros_for_empty_prompt true in its model_index.json"
        )
    for tokenizer, pad_id in zip(whole.tokenizers.values(), whole.pad_ids, strict=False):
        if tokenizer.pad_id != pad_id:
            raise UnsupportedError(
                f"{whole.path} fills prompts up with {_pad(tokenizer)!r}, which one file of such a model cannot say: "
                "draw with the folder"
            )
    pieces = [one.piece(to_folder=False) for one in whole.networks]
    stated = {"modelspec.prediction_type": "epsilon" if whole.prediction == "eps" else "v"} if whole.prediction else {}
    marks = {V_PREDICTION: whole.prediction == "v", ZERO_SNR: whole.zero_snr}
    markers = Constants({name: torch.zeros(0) for name, holds in marks.items() if holds})
    file = WeightsFile(name="", pieces=[*pieces, markers], metadata=METADATA | stated)
    setting = {f"the scheduler's {name} {value}": 1 for name, value in whole.scheduler.items() if not whole.zero_snr}
    return Conversion(files=(file,), texts={}, left=dict(whole.left(pieces)) | setting)


def _folder(whole: _Whole, networks: Networks) -> Conversion:
    pieces = {one.file: one.piece(to_folder=True) for one in whole.networks}
    files: dict[str, Piece | Constants] = {**pieces}
    configs = {one.part: one.config for one in whole.networks}
    if networks.image_clip and NORMALIZER not in configs:  # a single file with ViT-H leaves its statistics out: 0 and 1
        width = networks.image_clip.embed_dim
        configs[NORMALIZER] = normalizer(width)
        files[f"{NORMALIZER}/diffusion_pytorch_model.safetensors"] = Constants(
            {"mean": torch.zeros(1, width), "std": torch.ones(1, width)}
        )
    return Conversion(
        files=[WeightsFile(name=name, pieces=(one,), metadata=METADATA) for name, one in files.items()],
        texts=folder_texts.pipeline(
            inpaints=networks.unet.in_channels == 9,
            steps={
                **folder_texts.scheduler(
                    whole.prediction or "eps", zero_snr=whole.zero_snr, xl=networks.text_2 is not None
                ),
                **whole.scheduler,
            },
            networks=configs,
            pads={name: _pad(one) for name, one in whole.tokenizers.items()},
            blank=whole.blank,
        ),
        left=whole.left([*pieces.values()]),
    )


def _pad(tokenizer: ClipTokenizer) -> str:
    word: str | None = tokenizer.tokenizer.id_to_token(tokenizer.pad_id)
    if word is None:
        raise DamagedError(f"the tokenizer fills prompts up with {tokenizer.pad_id}, which is no token of its own")
    return word


def _published_words(tokenizer: ClipTokenizer) -> bool:
    """Whether its words and merges are CLIP's."""
    own, known = (json.loads(one.tokenizer.to_str())["model"] for one in (tokenizer, ClipTokenizer.packaged()))
    return bool(own["vocab"] == known["vocab"] and own["merges"] == known["merges"])


def _unused(stack: Stack) -> dict[str, int]:
    """The keys of LoRAs that fit no layer of the model, in words, with their number."""
    return {f"keys of {lora.path} that are of no layer": len(keys) for lora, keys in stack.unused.items() if keys}


def _aside(path: Path) -> dict[str, int]:
    """The parts of a folder that are not converted, since nothing is drawn with them."""
    if not (path / PIPELINE).is_file():
        return {}
    named = components(path)
    if named.get("image_encoder"):  # a feature extractor for it is no loss: it is the same in every model
        return {}
    return {name: 1 for name in UNREAD if named.get(name)}
