"""The sizes of networks, read from the configurations of a folder within bounds."""

from collections.abc import Mapping
from pathlib import Path
from typing import cast

from scorefield.errors import DamagedError
from scorefield.input_files import Json
from scorefield.printable import one_line

# Sizes are read before the tensors are compared with them, and a network takes time and memory for each of its blocks
# even on the meta device: the bounds are far above every published model, and far below what hurts.
_LARGEST = 2**20
_MOST_BLOCKS = 1000


class Sizes:
    """The sizes that one config.json in a folder of `model` must state."""

    def __init__(self, path: Path, settings: Mapping[str, Json], model: str) -> None:
        self.path, self.settings, self.model = path, settings, model

    def number(self, name: str) -> int:
        """A number from 1 to _LARGEST."""
        return self._whole(name, self.settings.get(name))

    def fields(self, table: Mapping[str, str]) -> dict[str, int]:
        """The fields of our configuration, each from the setting that `table` pairs with it."""
        return {field: self.number(name) for name, field in table.items()}

    def numbers(self, name: str, count: int) -> list[int]:
        """`count` such numbers: a list of them, or one for all."""
        value = self.settings.get(name)
        if not isinstance(value, list):
            return [self._whole(name, value)] * count
        self.hold(len(value) == count, name)
        return [self._whole(name, one) for one in value]

    def hold_few(self, name: str, each: int = 1) -> None:
        """DamagedError for a number of layers, of `each` blocks, that makes a network too deep."""
        self.hold(self.number(name) * each <= _MOST_BLOCKS, name)

    def hold(self, holds: bool, name: str) -> None:
        """DamagedError about the setting of that name, unless `holds`."""
        if not holds:
            value = one_line(str(self.settings.get(name)))[:80]
            raise DamagedError(f"{self.path}: {name} {value} is not valid for a {self.model}")

    def _whole(self, name: str, value: Json) -> int:
        self.hold(type(value) is int and 0 < value <= _LARGEST, name)
        return cast(int, value)
