"""The folder of a diffusers pipeline: model_index.json, and a folder of weights for each part."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from scorefield.errors import DamagedError, MissingError
from scorefield.input_files import Json, read_json
from scorefield.weights.locate import PIPELINE, no_variant, variant_in
from scorefield.weights.tensor_index import ReadIndex, TensorIndex, read_index

_OPTIONAL = ("safety_checker", "feature_extractor")  # never needed to draw, and never read
_WEIGHTLESS = re.compile(r"Tokenizer|Scheduler|FeatureExtractor|Processor")


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffusersFolder:
    """The parts that a model_index.json names, and which of them are there."""

    path: Path
    model_index: Mapping[str, Json]
    parts: Mapping[str, TensorIndex]  # those with weights
    missing: tuple[str, ...]  # named, needed, and not there
    scheduler: Mapping[str, Json] | None

    @property
    def name(self) -> str:
        """The class of the pipeline, such as StableDiffusionPipeline."""
        return str(self.model_index.get("_class_name", "pipeline"))


def is_diffusers_folder(path: Path) -> bool:
    """Whether a path is the folder of a diffusers pipeline."""
    return (path / PIPELINE).is_file()


def read_folder(folder: Path, variant: str | None = None, *, pickled: ReadIndex) -> DiffusersFolder:
    """Read the indexes of a folder's parts: of `variant` for a part that has it, else of the plain file.

    A part that is not there is `missing`; errors as of `read_index` for one that cannot be read.
    """
    model_index = read_json(folder / PIPELINE)
    parts: dict[str, TensorIndex] = {}
    missing = []
    for name, class_name in components(folder, model_index).items():
        if class_name is None or name in _OPTIONAL:
            continue
        if not (folder / name).is_dir():
            missing.append(name)
        elif not _WEIGHTLESS.search(class_name):
            parts[name] = read_index(folder / name, variant_in(folder / name, variant), pickled=pickled)
    if variant and parts and not any(variant_in(folder / name, variant) for name in parts):
        names = [file.name for name in parts for file in (folder / name).iterdir()]
        raise MissingError(f"{folder} {no_variant(names, variant)}")
    config = folder / "scheduler" / "scheduler_config.json"
    return DiffusersFolder(
        path=folder,
        model_index=model_index,
        parts=parts,
        missing=tuple(missing),
        scheduler=read_json(config) if config.exists() else None,
    )


def components(folder: Path, model_index: Mapping[str, Json] | None = None) -> dict[str, str | None]:
    """The class of every part that a pipeline's model_index.json names, None for a part that it leaves out."""
    classes: dict[str, str | None] = {}
    for name, value in (read_json(folder / PIPELINE) if model_index is None else model_index).items():
        if name.startswith("_") or not isinstance(value, list):
            continue
        if not re.fullmatch(r"\w+", name) or len(value) != 2:
            raise DamagedError(f"{folder / PIPELINE} is damaged: {name!r} is not a part")
        classes[name] = value[1] if isinstance(value[1], str) else None
    return classes
