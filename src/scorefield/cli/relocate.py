"""Find the files of a recorded request again, by their SHA-256."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict, TypeVar

from scorefield.errors import RequestError, ScorefieldError
from scorefield.request import Embedding, InputImage, Lora, Request, parse_choice

File = TypeVar("File", Lora, Embedding)


class Now(TypedDict):
    """Where things are now, by the options of `scorefield replay`; None, or no path, for what is where it was."""

    model: str | None
    device: str | None
    vae: str | None
    lora: tuple[str, ...]
    embedding: tuple[str, ...]
    image: str | None
    mask: str | None
    image_prompt: str | None


def relocated(request: Request, now: Now) -> Request:
    """The request with its files where they are now; RequestError for a file that is another one than was recorded.

    A picture that never was a file has no hash to be held to.
    """
    from scorefield.weights.lora.file import LoraFile
    from scorefield.weights.textual_inversion import TextualInversionFile

    asked = {"model": now["model"], "device": now["device"], "vae": now["vae"]}
    told = parse_choice({name: value for name, value in asked.items() if value})
    pictures = {"image": now["image"], "mask": now["mask"], "image_prompt": now["image_prompt"]}
    loras = {path: LoraFile(Path(path)).sha256 for path in now["lora"]}
    words = {path: TextualInversionFile(Path(path)).sha256 for path in now["embedding"]}
    return request.model_copy(
        update={name: getattr(told, name) for name in told.model_fields_set}
        | {name: _picture(getattr(request, name), path) for name, path in pictures.items() if path}
        | {"loras": _found(request.loras, loras, "LoRA")}
        | {"embeddings": _found(request.embeddings, words, "textual inversion")}
    )


def lost(request: Request, error: ScorefieldError) -> ScorefieldError:
    """`error` of loading what `request` recorded: with the option that says where a file is now, if it is gone."""
    places = {one.path: "--embedding" for one in request.embeddings} | {one.path: "--lora" for one in request.loras}
    places |= {request.model: "--model"} | ({request.vae: "--vae"} if request.vae else {})
    for place, flag in places.items():
        if str(error).startswith(str(Path(place))) and not Path(place).exists():
            return type(error)(f"{error}; if it lies elsewhere now, give its path with {flag}")
    return error


def _picture(recorded: InputImage | None, path: str) -> InputImage:
    return InputImage(path=path, sha256=recorded.sha256 if recorded and recorded.path else None)


def _found(recorded: Sequence[File], now: Mapping[str, str], what: str) -> tuple[File, ...]:
    """The recorded files, at the paths whose sha256 `now` tells where there is one."""
    known = {one.sha256 for one in recorded}
    for path, sha256 in now.items():
        if not known:
            raise RequestError(f"the picture was drawn without a {what}, so there is none to find at {path}")
        if sha256 not in known:
            told = f"its sha256 is {sha256[:10]}, not {' or '.join(sorted(str(one)[:10] for one in known))}"
            raise RequestError(f"the {what} {path} is another one than was recorded: {told}")
    paths = {sha256: path for path, sha256 in now.items()}
    return tuple(one.model_copy(update={"path": paths.get(one.sha256 or "", one.path)}) for one in recorded)
