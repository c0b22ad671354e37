"""Errors that are not bugs: one base class, whose kind says what would help."""

from typing import ClassVar, Literal

from scorefield.printable import printable

Kind = Literal["request", "missing", "damaged", "unsupported", "machine"]


class ScorefieldError(Exception):
    """An error in one line: what is wrong, and what to do. Any other exception is a bug, and keeps its traceback.

    - `request`: change the request
    - `missing`: a file, a model or a package is not there
    - `damaged`: get the file again
    - `unsupported`: the file is intact, but this program cannot use it
    - `machine`: this machine cannot do it: memory, disk, device, number format
    """

    kind: ClassVar[Kind]

    def __str__(self) -> str:
        """The line, escaped so that no text from a file can control a terminal."""
        return printable(super().__str__())


class RequestError(ScorefieldError, ValueError):
    """A request that cannot be met, and the `option` at fault, if there is one."""

    kind = "request"

    def __init__(self, line: str, *, option: str | None = None) -> None:
        super().__init__(line)
        self.option = option


class UnsupportedError(ScorefieldError):
    """A file, folder or model that is intact, but that this program cannot use."""

    kind = "unsupported"


class MissingError(ScorefieldError):
    """A file, a model or a package that is not there."""

    kind = "missing"


class DamagedError(ScorefieldError):
    """A file that is cut off, changed, or not what its name says."""

    kind = "damaged"


class MachineError(ScorefieldError):
    """A limit of this machine: its memory, disk, device or number formats."""

    kind = "machine"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory is exhausted; PyTorch says so by a class on a GPU, and only in a message on a CPU."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
