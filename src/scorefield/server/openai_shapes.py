"""What the OpenAI interface answers, as the `openai` SDK reads it. Fields that OpenAI's has not are marked ours."""

import math
from typing import Any, Literal

from pydantic import BaseModel, Field

from scorefield.queue.entry import Entry, State
from scorefield.server.described import ERRORS
from scorefield.server.desk import failed

Quality = Literal["low", "medium", "high", "xhigh", "max"]
Status = Literal["queued", "in_progress", "completed", "failed"]

_STATUS: dict[State, Status] = {
    State.QUEUED: "queued", State.RUNNING: "in_progress", State.DONE: "completed", State.FAILED: "failed",
    State.CANCELLED: "failed",
}  # fmt: skip


class ErrorOut(BaseModel):
    """What is wrong, and what to do."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorsOut(BaseModel):
    """An error in OpenAI's form."""

    error: ErrorOut


OPENAI_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {**about, "model": ErrorsOut} for status, about in ERRORS.items()
} | {500: {"model": ErrorsOut, "description": "The job failed while it was drawn."}}


class TokensIn(BaseModel):
    """The tokens of a request, by kind."""

    image_tokens: int = Field(0, description="Always 0: pictures are not read as tokens.")
    text_tokens: int


class Usage(BaseModel):
    """The tokens of the prompt. A picture is not made of tokens, so there are none in the output."""

    input_tokens: int
    input_tokens_details: TokensIn
    output_tokens: int = 0
    total_tokens: int


class ImageOut(BaseModel):
    """A picture: its bytes in base64, or an address."""

    b64_json: str | None = None
    url: str | None = None
    revised_prompt: None = None
    seed: str = Field(description="Ours: the seed of its noise, a whole number below 2^64.")


class ImagesOut(BaseModel):
    """Finished pictures."""

    created: int
    background: Literal["opaque"] = "opaque"
    data: list[ImageOut]
    output_format: Literal["png", "jpeg", "webp", "gif"]
    quality: Quality
    safety_identifier: str | None
    size: str
    usage: Usage
    notes: list[str] = Field(description="Ours: remarks, for example on words that the model never saw.")


class PartialOut(BaseModel):
    """An event: the clean picture as it is predicted at a step."""

    type: str
    b64_json: str
    background: Literal["opaque"] = "opaque"
    created_at: int
    output_format: Literal["png", "jpeg", "webp"]
    partial_image_index: int
    quality: Quality
    size: str
    output_index: int = Field(description="Ours: which of the n pictures it is.")


class CompletedOut(BaseModel):
    """An event: a finished picture."""

    type: str
    b64_json: str
    background: Literal["opaque"] = "opaque"
    created_at: int
    output_format: Literal["png", "jpeg", "webp"]
    quality: Quality
    safety_identifier: str | None
    size: str
    usage: Usage
    output_index: int = Field(description="Ours: which of the n pictures it is.")
    seed: str = Field(description="Ours: the seed of its noise, a whole number below 2^64.")


class ModelOut(BaseModel):
    """A model that requests may name."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(0, description="Always 0: models have no such date here.")
    owned_by: Literal["scorefield", "local"] = Field(description="Whether it ships or lies in the operator's folders.")


class ModelsOut(BaseModel):
    """The models that requests may name."""

    object: Literal["list"] = "list"
    data: list[ModelOut]


class VideoError(BaseModel):
    """Why there is no film."""

    code: Literal["job_failed", "cancelled"]
    message: str


class VideoOut(BaseModel):
    """A film, or the job that makes it. Times are seconds since 1970."""

    id: str
    object: Literal["video"] = "video"
    status: Status
    progress: int = Field(ge=0, le=100)
    created_at: int
    completed_at: int | None
    expires_at: int | None
    model: str
    prompt: str
    seconds: str
    size: str
    error: VideoError | None
    remixed_from_video_id: None = None
    seed: str = Field(description="Ours: the seed of its noise, a whole number below 2^64.")
    frames: int = Field(description="Ours: how many there are.")


class VideosOut(BaseModel):
    """Some films."""

    object: Literal["list"] = "list"
    data: list[VideoOut]
    has_more: bool
    first_id: str | None
    last_id: str | None


class VideoGone(BaseModel):
    """A film that was deleted."""

    id: str
    deleted: Literal[True] = True
    object: Literal["video.deleted"] = "video.deleted"


def usage(tokens: int) -> Usage:
    """The usage of a prompt of so many tokens."""
    return Usage(input_tokens=tokens, input_tokens_details=TokensIn(text_tokens=tokens), total_tokens=tokens)


def size_of(entry: Entry) -> str:
    """The size of a job's outputs."""
    return f"{entry.request.width}x{entry.request.height}"


def video_out(entry: Entry, progress: float, keep_seconds: float) -> VideoOut:
    """A job as a film."""
    over = entry.state in (State.FAILED, State.CANCELLED)
    code: Literal["job_failed", "cancelled"] = "cancelled" if entry.state is State.CANCELLED else "job_failed"
    finished = entry.finished
    return VideoOut(
        id=entry.id,
        status=_STATUS[entry.state],
        progress=100 if entry.state is State.DONE else min(99, math.floor(100 * progress)),
        created_at=int(entry.created),
        completed_at=None if finished is None else int(finished),
        expires_at=None if finished is None else int(finished + keep_seconds),
        model=entry.request.model,
        prompt=entry.request.prompts[0],
        seconds=f"{entry.frames / (entry.request.fps or 1):.3g}",
        size=size_of(entry),
        error=VideoError(code=code, message=failed(entry)) if over else None,
        seed=str(entry.request.seed),
        frames=entry.frames,
    )
