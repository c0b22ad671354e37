"""Build Stable Diffusion 1, 2, XL and unCLIP from a diffusers folder or a single ldm file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from scorefield.core.denoiser import Preconditioned
from scorefield.errors import DamagedError, RequestError, UnsupportedError
from scorefield.families.fill import Filling
from scorefield.families.stable_diffusion.folder_config import check, other_latents, schedule, stated
from scorefield.families.stable_diffusion.parts import Parts, parts
from scorefield.families.stable_diffusion.specs import NETWORKS, SPECS, Networks, from_pure_noise, kinds
from scorefield.latent import kl_codec
from scorefield.latent.latent_codec import PictureCodec
from scorefield.model.part_names import Part
from scorefield.model.spec import ModelSpec
from scorefield.model.system import Place, System
from scorefield.nets.clip import ImageEncoder, TextEncoder
from scorefield.nets.kl import Kl
from scorefield.nets.unet import Unet
from scorefield.prompt.bpe import ClipTokenizer
from scorefield.prompt.conditioner import Conditioner
from scorefield.prompt.published import PublishedConditioner
from scorefield.prompt.sdxl import XlConditioner
from scorefield.prompt.unclip import Statistics, UnclipConditioner
from scorefield.request import Group, ModelChoice
from scorefield.request.input_pictures import PicturePrompt
from scorefield.request.words import ClipWords
from scorefield.stages.diffusion import Diffusion
from scorefield.weights.checkpoint import Checkpoint
from scorefield.weights.detect.identity import Family, Kind, ModelIdentity, Task
from scorefield.weights.model_files import components, has_several

_WORDS: frozenset[type[Group]] = frozenset({ClipWords})
_PARTS = {  # of the models that can be drawn with; no file with another part is one of them
    "unet", "unet_ema", "vae", "text_encoder", "text_encoder_2", "image_encoder", "image_normalizer", "noise_augmentor",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognised:
    """The files of a Stable Diffusion, and the sizes of its networks."""

    checkpoint: Checkpoint
    found: ModelIdentity
    networks: Networks


class StableDiffusion:
    """The family: a diffusers folder, or one file of the original layout; code in a .ckpt is never run."""

    names: Mapping[str, Recognised] = {}

    def specs(self) -> Sequence[ModelSpec]:
        """The kinds that are loaded from files."""
        return kinds()

    def recognise(self, checkpoint: Checkpoint) -> Recognised | None:
        """The model, if the files are a whole one; UnsupportedError for a kind that cannot be drawn with."""
        return None if has_several(checkpoint.path) else recognised(checkpoint)

    def build(self, identity: Recognised, choice: ModelChoice, place: Place) -> System:
        """The model; its sha256 is computed while the weights are read, see `Filling`."""
        checkpoint, found, networks = identity.checkpoint, identity.found, identity.networks
        for name in ("text_encoder", "image_encoder"):
            if getattr(choice, name):
                raise RequestError(f"{name} is not an option of Stable Diffusion", option=name)
        if missing := [part for part in found.missing if not (part == "vae" and choice.vae)]:
            line = f"{checkpoint.path} lacks its {' and its '.join(missing)}; get it whole"
            more = ", or give an autoencoder with --vae" if missing == ["vae"] else ""
            raise UnsupportedError(line + more)
        output, spec = _spec(identity, choice.prediction)
        places, fill, xl = parts(checkpoint, networks, choice), Filling(place), networks.text_2 is not None
        unet = fill(lambda: Unet(networks.unet), Part.UNET, *places.unet)
        kl = fill(lambda: Kl(networks.kl), Part.AUTOENCODER, *places.kl)
        latents = (other_latents(Path(choice.vae), xl=xl) if choice.vae else None) or networks.latents
        if latents and latents != kl_codec.published(xl=xl):
            fill.add_to_hash(f"autoencoder.latents {tuple(latents)}")
        codec = PictureCodec(fill.settled(kl_codec.KlCodec(kl, latents, xl=xl)))
        stage = Diffusion(
            spec=spec,
            denoiser=Preconditioned(unet, spec.prediction, spec.clock),
            conditioner=_conditioner(checkpoint.path, networks, places, fill),
            codec=codec,
            device=place.device,
            further=_WORDS | {PicturePrompt} if networks.image_clip else _WORDS,
            on_demand=fill.on_demand,
        )
        return System(
            choice=choice.model_copy(update={"prediction": output}),
            stages=(stage,),
            device=place.device,
            dtype=place.dtype,
            sha256=fill.sha256,
        )


def recognised(checkpoint: Checkpoint, networks: Networks | None = None) -> Recognised | None:
    """The model with the sizes that its folder states, its family's, or `networks`; None if it is another model.

    It may lack parts that a choice can supply. UnsupportedError for a task that cannot be drawn.
    """
    found = checkpoint.identity
    if not isinstance(found, ModelIdentity) or found.kind is Kind.UNET:
        return None
    states_its_sizes = found.kind is Kind.PIPELINE and found.family is Family.UNKNOWN and found.channels
    if not (networks or found.family in NETWORKS or states_its_sizes):
        return None
    if reason := _refusal(found):
        raise UnsupportedError(f"{checkpoint.path} {reason}")
    if checkpoint.is_folder:
        _check_settings(checkpoint)
    known = published(found)
    if networks is None:
        networks = known if known and not checkpoint.is_folder else stated(checkpoint, known)
    return Recognised(checkpoint=checkpoint, found=found, networks=networks)


def published(found: ModelIdentity) -> Networks | None:
    """The published networks of the family that was found; None for an unknown family.

    For inpainting the U-Net has nine channels: the latents, a mask, and the latents of the masked picture.
    """
    networks = NETWORKS.get(found.family)
    if networks is None or found.channels is None:
        return networks
    return replace(networks, unet=replace(networks.unet, in_channels=found.channels))


def _check_settings(checkpoint: Checkpoint) -> None:
    """Check the pipeline and its scheduler; networks are checked when their sizes are read."""
    path, index = checkpoint.path, checkpoint.folder.model_index
    check(path, "pipeline", {name: value for name, value in index.items() if not isinstance(value, list)})
    if name := components(path, index).get("scheduler"):
        check(path, "scheduler", {"_class_name": name})
    check(path, "scheduler", checkpoint.folder.scheduler or {})


def _refusal(found: ModelIdentity) -> str | None:
    """Why the files cannot be drawn with, in words that follow their path; None if they can."""
    named = found.family if found.family is not Family.UNKNOWN else found.resembles or "of an unknown family"
    if found.task not in (Task.TEXT, Task.INPAINTING, Task.VARIATION):
        task = found.task or "another task"
        return f"is {named} for {task}; only text to image, inpainting and variation are supported"
    if extra := found.parts.keys() - _PARTS:
        return f"is {named} with an unknown part: {', '.join(sorted(extra))}"
    return None


def _spec(model: Recognised, prediction: str | None) -> tuple[str, ModelSpec]:
    """The prediction, as asked or else as the files say, and the spec of the model."""
    checkpoint, found, networks = model.checkpoint, model.found, model.networks
    path = checkpoint.path
    specs = SPECS.get(found.family, SPECS[Family.SDXL if networks.text_2 else Family.SD1])
    output = prediction or (found.prediction and found.prediction.value)
    if not output:
        raise RequestError(f"{path}: {unknown_prediction(found)}")
    if output not in specs:
        raise UnsupportedError(f"{path}: a Stable Diffusion predicts {' or '.join(specs)}, not {output}")
    if found.zero_snr and output != "v":
        raise UnsupportedError(f"{path} was trained with zero terminal SNR, which needs v-prediction, not {output}")
    spec = from_pure_noise(specs[output]) if found.zero_snr else specs[output]
    named = schedule(checkpoint.folder.scheduler or {}) if checkpoint.is_folder else None
    return output, replace(
        spec,
        inpaints=found.task is Task.INPAINTING,
        image_prompt=networks.image_clip.vision.image_size if networks.image_clip else None,
        defaults=replace(spec.defaults, schedule=named[0]) if named else spec.defaults,
    )


def unknown_prediction(found: ModelIdentity) -> str:
    """Why it is not known what the network predicts, and how to state it."""
    why = found.prediction.why if found.prediction else "nothing says what it predicts: give eps or v"
    return f"{why} (prediction='v', or --prediction v)"


def _conditioner(path: Path, networks: Networks, places: Parts, fill: Filling) -> Conditioner:
    words = _words(path, places.tokenizer, fill(lambda: TextEncoder(places.encoder), Part.TEXT, *places.text))
    if places.image and (clip := networks.image_clip):
        weights, statistics = places.image
        image = fill(lambda: ImageEncoder(clip.vision, clip.embed_dim, clip.activation), Part.IMAGE, *weights)
        if statistics is None:
            known = Statistics(clip.embed_dim).to(fill.networks)
        else:
            known = fill(lambda: Statistics(clip.embed_dim), Part.STATISTICS, *statistics)
        return UnclipConditioner(words.tokenizer, words.encoder, image, known)
    if places.second and (config := networks.text_2):
        second = fill(lambda: TextEncoder(config), Part.TEXT_2, *places.second.weights)
        summary = _words(path, places.second.tokenizer, second)
        return XlConditioner(words, summary, features=networks.size_features, blank=places.second.blank)
    return words


def _words(path: Path, tokenizer: ClipTokenizer, encoder: TextEncoder) -> PublishedConditioner:
    try:
        return PublishedConditioner(tokenizer, encoder)
    except ValueError as error:
        raise DamagedError(f"{path}: {error}") from None
