"""Files that a picture was drawn with are known again by their hashes."""

from scorefield.errors import RequestError


def check_hash(path: str, sha256: str, recorded: str | None, what: str) -> None:
    """RequestError if the file at `path` is not the one whose hash was `recorded`; None stands for any file.

    The error calls the file a `what`.
    """
    if recorded not in (None, sha256):
        raise RequestError(
            f"{path} has changed: its hash is {sha256[:10]}, that of the {what} which is asked for is {recorded[:10]}"
        )
