"""A model's files as a whole: a folder of parts or one file, each opened and indexed once."""

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, cast

from scorefield.input_files import Json, read_json
from scorefield.weights import torch_pickle
from scorefield.weights.detect.identify import identify_file, identify_folder
from scorefield.weights.detect.identity import AnyIdentity
from scorefield.weights.diffusers_folder import DiffusersFolder, is_diffusers_folder, read_folder
from scorefield.weights.reader import Reader

R = TypeVar("R")


class Checkpoint:
    """The file or folder at `path`; `variant` ("fp16") chooses among a folder's files.

    Nothing is read before it is asked for, and nothing twice. MissingError or DamagedError for what cannot be read.
    """

    def __init__(self, path: Path, variant: str | None = None) -> None:
        self.path, self.variant = path, variant
        self._readers: dict[str, Reader] = {}
        self._read: dict[tuple[str, object], Any] = {}

    @cached_property
    def is_folder(self) -> bool:
        """Whether it is the folder of a diffusers pipeline."""
        return is_diffusers_folder(self.path)

    @cached_property
    def folder(self) -> DiffusersFolder:
        """The parts of a folder."""
        return read_folder(self.path, self.variant, pickled=torch_pickle.read_index)

    @cached_property
    def identity(self) -> AnyIdentity:
        """What it is, by its names and shapes."""
        return identify_folder(self.folder) if self.is_folder else identify_file(self.reader().index)

    def reader(self, part: str = "") -> Reader:
        """The weights of a part's folder, or of the one file."""
        if part not in self._readers:
            index = self.folder.parts.get(part) if part else None
            self._readers[part] = Reader.of(index) if index else Reader(self.path / part, self.variant)
        return self._readers[part]

    def json(self, name: str) -> Mapping[str, Json]:
        """A JSON file of the folder, such as unet/config.json."""
        return self.read(name, read_json)

    def read(self, name: str, reading: Callable[[Path], R]) -> R:
        """The result of `reading` a file or folder in it, which is read once."""
        key = name, reading
        if key not in self._read:
            self._read[key] = reading(self.path / name)
        return cast(R, self._read[key])
