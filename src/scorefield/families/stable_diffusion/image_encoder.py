"""The parts that only Stable Diffusion 2.1 unCLIP has: an image encoder, and the statistics of its vectors."""

from scorefield.errors import DamagedError
from scorefield.families.fill import Filling
from scorefield.families.stable_diffusion.parts import Place, placed
from scorefield.families.stable_diffusion.settings import check
from scorefield.nets.clip import VIT_H_14, ClipConfig, ImageEncoder
from scorefield.prompt.published import PublishedConditioner
from scorefield.prompt.unclip import Statistics, UnclipConditioner
from scorefield.weights.checkpoint import Checkpoint
from scorefield.weights.checkpoint_layout import IMAGE_ENCODER, NOISE_AUGMENTOR
from scorefield.weights.key_map import Entry, under
from scorefield.weights.key_maps import clip_keys

VISION = f"{IMAGE_ENCODER}model.visual."  # the rest of that CLIP is not read
STATISTICS = (Entry("mean", ("mean",)), Entry("deviation", ("std",)))  # of a folder, and of one file:
STATISTICS_LDM = tuple(under("", f"{NOISE_AUGMENTOR}data_", STATISTICS))


def reading(
    checkpoint: Checkpoint, config: ClipConfig, words: PublishedConditioner, fill: Filling
) -> UnclipConditioner:
    """The conditioner of an unCLIP: that of `words`, which also reads an image prompt.

    DamagedError for files that are missing or hold something else, UnsupportedError for other levels of noise on the
    image prompt than the published ones.
    """
    tower_place, statistics = files(checkpoint, config)
    tower = fill(lambda: ImageEncoder(config.vision, config.embed_dim, config.activation), "image tower", *tower_place)
    if statistics is None:
        known = Statistics(config.embed_dim).to(fill.place.networks)
    else:
        known = fill(lambda: Statistics(config.embed_dim), "image statistics", *statistics)
    return UnclipConditioner(words.tokenizer, words.encoder, tower, known)


def files(checkpoint: Checkpoint, config: ClipConfig) -> tuple[Place, Place | None]:
    """Where the image encoder is, and the statistics of its vectors; None where there are none, and none are needed."""
    return _folder(checkpoint, config) if checkpoint.is_folder else _file(checkpoint, config)


def _folder(checkpoint: Checkpoint, config: ClipConfig) -> tuple[Place, Place]:
    part = "image_noising_scheduler"
    check(checkpoint.path, part, checkpoint.json(f"{part}/scheduler_config.json"))
    listed = list(clip_keys.transformers_vision(config.vision))
    tower_place = placed(listed, checkpoint.reader("image_encoder"), "")
    return tower_place, placed(STATISTICS, checkpoint.reader("image_normalizer"), "")


def _file(checkpoint: Checkpoint, config: ClipConfig) -> tuple[Place, Place | None]:
    source = checkpoint.reader()
    tower_place = placed(list(under("", VISION, clip_keys.openai_vision(config.vision))), source, VISION)
    names = [name for entry in STATISTICS_LDM for name in entry.theirs]
    if all(name in source.tensors for name in names):
        return tower_place, Place(STATISTICS_LDM, source, names)
    if config != VIT_H_14:  # the statistics for ViT-H are 0 and 1, so its files leave them out
        raise DamagedError(
            f"{checkpoint.path} lacks the mean of its CLIP's vectors ({names[0]}); use the folder of the model"
        )
    return tower_place, None
