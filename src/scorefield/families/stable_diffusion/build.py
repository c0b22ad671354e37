"""Stable Diffusion 1, 2, XL and unCLIP out of the files that people have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from scorefield.core.denoiser import Preconditioned
from scorefield.errors import DamagedError, RequestError, UnsupportedError
from scorefield.families.fill import Filling
from scorefield.families.stable_diffusion import image_encoder, second_encoder
from scorefield.families.stable_diffusion.config import other_latents, stated
from scorefield.families.stable_diffusion.parts import Parts, parts
from scorefield.families.stable_diffusion.recognise import whole_model
from scorefield.families.stable_diffusion.settings import schedule
from scorefield.families.stable_diffusion.specs import NETWORKS, SPECS, Networks, from_pure_noise, kinds
from scorefield.latent.kl_codec import KlCodec
from scorefield.latent.latent_codec import PictureCodec
from scorefield.model.spec import ModelSpec
from scorefield.model.system import Place, System
from scorefield.nets.clip import TextEncoder
from scorefield.nets.kl import Kl
from scorefield.nets.unet import Unet
from scorefield.prompt.conditioner import Conditioner
from scorefield.prompt.published import PublishedConditioner
from scorefield.request import Group, ModelChoice
from scorefield.request.input_pictures import PicturePrompt
from scorefield.request.words import ClipWords
from scorefield.stages.diffusion import Diffusion
from scorefield.weights.checkpoint import Checkpoint
from scorefield.weights.detect.identity import Family, ModelIdentity, Task

_WORDS: frozenset[type[Group]] = frozenset({ClipWords})
_WITH_PICTURES: frozenset[type[Group]] = frozenset({ClipWords, PicturePrompt})


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
        return recognised(checkpoint)

    def build(self, identity: Recognised, choice: ModelChoice, place: Place) -> System:
        """The model; its sha256 is taken of the weights while they are read, see `Filling`."""
        checkpoint, found, networks = identity.checkpoint, identity.found, identity.networks
        if missing := [part for part in found.missing if not (part == "vae" and choice.vae)]:
            raise UnsupportedError(_lacks(checkpoint.path, missing))
        output, spec = _spec(checkpoint, found, choice.prediction, networks)
        spec = replace(
            spec,
            inpaints=found.task is Task.INPAINTING,
            image_prompt=networks.image_clip.vision.image_size if networks.image_clip else None,
        )
        places, fill = parts(checkpoint, networks, choice), Filling(place)
        unet = fill(lambda: Unet(networks.unet), "U-Net", *places.unet)
        kl = fill(lambda: Kl(networks.kl), "autoencoder", *places.kl)
        latents = other_latents(Path(choice.vae), xl=networks.text_2 is not None) if choice.vae else None
        codec = KlCodec(kl, latents or networks.latents, xl=networks.text_2 is not None)
        stage = Diffusion(
            spec=spec,
            denoiser=Preconditioned(unet, spec.prediction, spec.clock),
            conditioner=_conditioner(checkpoint, networks, places, fill),
            codec=PictureCodec(codec.to(place.networks)),
            device=place.device,
            further=_WITH_PICTURES if networks.image_clip else _WORDS,
        )
        return System(
            choice=choice.model_copy(update={"prediction": output}),
            stages=(stage,),
            device=place.device,
            dtype=place.dtype,
            sha256=fill.sha256,
        )


def recognised(checkpoint: Checkpoint, networks: Networks | None = None) -> Recognised | None:
    """The files with the sizes that a folder states, or those of their family, or `networks`; None for no whole model.

    UnsupportedError for a model that no picture can be drawn with.
    """
    found = whole_model(checkpoint, None if networks else NETWORKS)
    if found is None:
        return None
    known = published(found)
    if networks is None:
        networks = known if known and not checkpoint.is_folder else stated(checkpoint, known)
    return Recognised(checkpoint=checkpoint, found=found, networks=networks)


def published(found: ModelIdentity) -> Networks | None:
    """The published networks of the family that was found; None if its sizes are those of no family.

    For inpainting the U-Net has nine channels: the latents, a mask, and the latents of the masked picture.
    """
    networks = NETWORKS.get(found.family)
    if networks is None or found.channels is None:
        return networks
    return replace(networks, unet=replace(networks.unet, in_channels=found.channels))


def _conditioner(checkpoint: Checkpoint, networks: Networks, places: Parts, fill: Filling) -> Conditioner:
    encoder = fill(lambda: TextEncoder(places.encoder), "text encoder", *places.text)
    try:
        words = PublishedConditioner(places.tokenizer, encoder)
    except ValueError as error:
        raise DamagedError(f"{checkpoint.path}: {error}") from None
    if networks.image_clip:
        return image_encoder.reading(checkpoint, networks.image_clip, words, fill)
    if networks.text_2:
        return second_encoder.reading(checkpoint, networks, words, fill)
    return words


def _lacks(path: Path, missing: Sequence[str]) -> str:
    line = f"{path} lacks its {' and its '.join(missing)}; get it whole"
    return f"{line}, or give an autoencoder with --vae" if missing == ["vae"] else line


def _spec(
    checkpoint: Checkpoint, found: ModelIdentity, prediction: str | None, networks: Networks
) -> tuple[str, ModelSpec]:
    """The prediction, as asked or else as the files say, and the spec of the model."""
    path, scheduler = checkpoint.path, (checkpoint.folder.scheduler or {}) if checkpoint.is_folder else {}
    specs = SPECS.get(found.family, SPECS[Family.SDXL if networks.text_2 else Family.SD1])
    output = prediction or (found.prediction and found.prediction.value)
    if not output:
        why = found.prediction.why if found.prediction else "nothing tells what it predicts: say eps or v"
        raise RequestError(f"{path}: {why} (prediction='v', or --prediction v)")
    if output not in specs:
        raise UnsupportedError(f"{path}: a Stable Diffusion predicts {' or '.join(specs)}, not {output}")
    if found.zero_snr and output != "v":
        raise UnsupportedError(f"{path} was trained with zero terminal SNR, which needs v-prediction, not {output}")
    spec = from_pure_noise(specs[output]) if found.zero_snr else specs[output]
    if asked := schedule(scheduler):
        spec = replace(spec, defaults=replace(spec.defaults, schedule=asked[0]))
    return output, spec
