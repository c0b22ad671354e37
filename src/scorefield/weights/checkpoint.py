"""A model's files as a whole: a folder of parts or one file, each opened and indexed once."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from scorefield.weights import torch_pickle
from scorefield.weights.detect.detect import detect, detect_pipeline
from scorefield.weights.detect.identity import Identity
from scorefield.weights.diffusers_folder import Json, read_json
from scorefield.weights.pipeline import Pipeline, is_pipeline, read_pipeline
from scorefield.weights.reader import Reader


class Checkpoint:
    """The file or folder at `path`; `variant` ("fp16") chooses among a folder's files.

    Nothing is read before it is asked for, and nothing twice. SourceError for what is missing or damaged.
    """

    def __init__(self, path: Path, variant: str | None = None) -> None:
        self.path, self.variant = path, variant
        self._readers: dict[str, Reader] = {}
        self._texts: dict[str, Mapping[str, Json]] = {}

    @cached_property
    def is_folder(self) -> bool:
        """Whether it is the folder of a diffusers pipeline."""
        return is_pipeline(self.path)

    @cached_property
    def pipeline(self) -> Pipeline:
        """The parts of a folder."""
        return read_pipeline(self.path, self.variant, pickled=torch_pickle.listing)

    @cached_property
    def identity(self) -> Identity:
        """What it is, by its names and shapes."""
        return detect_pipeline(self.pipeline) if self.is_folder else detect(self.reader().listing)

    def reader(self, part: str = "") -> Reader:
        """The weights of a part's folder, or of the one file."""
        if part not in self._readers:
            index = self.pipeline.parts.get(part) if part else None
            self._readers[part] = Reader(self.path / part, self.variant, index)
        return self._readers[part]

    def json(self, name: str) -> Mapping[str, Json]:
        """A JSON file of the folder, such as unet/config.json."""
        if name not in self._texts:
            self._texts[name] = read_json(self.path / name)
        return self._texts[name]
