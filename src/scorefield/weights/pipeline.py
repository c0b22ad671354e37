"""The folder of a diffusers pipeline: model_index.json, and for each part a folder with its weights."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from scorefield.weights.diffusers_folder import PIPELINE, Json, SourceError, components, locate, no_variant, read_json
from scorefield.weights.tensor_index import ReadIndex, TensorIndex, read

_OPTIONAL = ("safety_checker", "feature_extractor")  # never needed to draw, and never read
_WEIGHTLESS = re.compile(r"Tokenizer|Scheduler|FeatureExtractor|Processor")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """The parts that a model_index.json names, and which of them are there."""

    path: Path
    name: str  # of the class, as StableDiffusionPipeline
    parts: Mapping[str, TensorIndex]  # those with weights
    missing: tuple[str, ...]  # named, needed, and not there
    scheduler: Mapping[str, Json] | None


def is_pipeline(path: Path) -> bool:
    """Whether a path is the folder of a diffusers pipeline."""
    return (path / PIPELINE).is_file()


def read_pipeline(folder: Path, variant: str | None = None, *, pickled: ReadIndex) -> Pipeline:
    """The listings of a folder's parts, of `variant` where a part has it, else of the plain file.

    A part that is not there is `missing`; SourceError for one that is damaged.
    """
    parts: dict[str, TensorIndex] = {}
    missing = []
    for name, of in components(folder).items():
        if of is None or name in _OPTIONAL:
            continue
        if not (folder / name).is_dir():
            missing.append(name)
        elif not _WEIGHTLESS.search(of):
            parts[name] = read(folder / name, variant_in(folder / name, variant), pickled=pickled)
    if variant and parts and not any(variant_in(folder / name, variant) for name in parts):
        names = [file.name for name in parts for file in (folder / name).iterdir()]
        raise SourceError(f"{folder} {no_variant(names, variant)}")
    config = folder / "scheduler" / "scheduler_config.json"
    return Pipeline(
        path=folder,
        name=str(read_json(folder / PIPELINE).get("_class_name", "pipeline")),
        parts=parts,
        missing=tuple(missing),
        scheduler=read_json(config) if config.is_file() else None,
    )


def variant_in(folder: Path, variant: str | None) -> str | None:
    """`variant` if a part's folder has it, else None, which stands for the plain file."""
    try:
        locate(folder, variant)
    except SourceError:
        return None
    return variant
