"""Find the files of a recorded request again, by their SHA-256."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict, TypeVar

from scorefield.errors import RequestError, ScorefieldError
from scorefield.request import Embedding, InputImage, Lora, Request, parse_choice

File = TypeVar("File", Lora, Embedding)


class Now(TypedDict):
    """Today's places of a record's files, by the options of `scorefield replay`; None or no path if unchanged."""

    model: str | None
    device: str | None
    vae: str | None
    text_encoder: str | None
    image_encoder: str | None
    lora: tuple[str, ...]
    embedding: tuple[str, ...]
    image: str | None
    last_image: str | None
    mask: str | None
    image_prompt: str | None


def relocated(request: Request, now: Now) -> Request:
    """The request with its files' new places; RequestError for a file that is not the recorded one.

    A picture that never was a file has no hash to compare.
    """
    from scorefield.weights.lora.file import LoraFile
    from scorefield.weights.textual_inversion import TextualInversionFile

    asked = {
        "model": now["model"], "device": now["device"], "vae": now["vae"], "text_encoder": now["text_encoder"],
        "image_encoder": now["image_encoder"],
    }  # fmt: skip
    given = parse_choice({name: value for name, value in asked.items() if value})
    pictures = {
        "image": now["image"], "last_image": now["last_image"], "mask": now["mask"],
        "image_prompt": now["image_prompt"],
    }  # fmt: skip
    loras = {path: LoraFile(Path(path)).sha256 for path in now["lora"]}
    words = {path: TextualInversionFile(Path(path)).sha256 for path in now["embedding"]}
    return request.model_copy(
        update={name: getattr(given, name) for name in given.model_fields_set}
        | {name: _picture(getattr(request, name), path) for name, path in pictures.items() if path}
        | {"loras": _found(request.loras, loras, "LoRA")}
        | {"embeddings": _found(request.embeddings, words, "textual inversion")}
    )


def lost(request: Request, error: ScorefieldError) -> ScorefieldError:
    """The `error` of loading a recorded request; if a file is gone, with the option that gives its new place."""
    places = {one.path: "--embedding" for one in request.embeddings} | {one.path: "--lora" for one in request.loras}
    parts = {
        request.model: "--model", request.vae: "--vae", request.text_encoder: "--text-encoder",
        request.image_encoder: "--image-encoder",
    }  # fmt: skip
    places |= {place: flag for place, flag in parts.items() if place}
    for place, flag in places.items():
        if str(error).startswith(str(Path(place))) and not Path(place).exists():
            return type(error)(f"{error}; if it was moved, give its new path with {flag}")
    return error


def _picture(recorded: InputImage | None, path: str) -> InputImage:
    return InputImage(path=path, sha256=recorded.sha256 if recorded and recorded.path else None)


def _found(recorded: Sequence[File], now: Mapping[str, str], what: str) -> tuple[File, ...]:
    """The recorded files, with new paths for those whose sha256 is in `now`."""
    known = {one.sha256 for one in recorded}
    for path, sha256 in now.items():
        if not known:
            raise RequestError(f"the picture was drawn without a {what}: leave {path} out")
        if sha256 not in known:
            difference = f"its sha256 is {sha256[:10]}, not {' or '.join(sorted(str(one)[:10] for one in known))}"
            raise RequestError(f"the {what} {path} is not the recorded one: {difference}")
    paths = {sha256: path for path, sha256 in now.items()}
    return tuple(one.model_copy(update={"path": paths.get(one.sha256 or "", one.path)}) for one in recorded)
