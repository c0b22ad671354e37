"""AUTOMATIC1111's tools for finished pictures: read how one was made, enlarge it."""

import asyncio
import base64
from typing import Annotated, Literal

from fastapi import APIRouter, HTTPException
from PIL import Image, ImageOps
from pydantic import BaseModel, Field

from scorefield.errors import RequestError
from scorefield.files import inputs, parameters
from scorefield.files.picture import encode, read_texts
from scorefield.server.a1111_fields import ERRORS, Fields, Picture, Whole
from scorefield.server.a1111_lists import UPSCALERS
from scorefield.server.desk import Desk, TheDesk, from_base64

router = APIRouter(prefix="/sdapi/v1", tags=["AUTOMATIC1111"])


class PngInfoIn(Fields):
    """A picture whose history is asked for."""

    image: Picture


class PngInfoOut(BaseModel):
    """How a picture was made; empty if it does not say."""

    info: str = Field(description="The `parameters` text.")
    items: dict[str, str] = Field(description="Its other texts.")
    parameters: dict[str, str] = Field(description="The parts of the text.")


class _EnlargeIn(Fields):
    """How to enlarge. Faces are not restored here."""

    resize_mode: Literal[0, 1] = 0
    show_extras_results: bool | None = True
    gfpgan_visibility: float | None = 0
    codeformer_visibility: float | None = 0
    codeformer_weight: float | None = 0
    upscaling_resize: Annotated[float, Field(gt=0, le=64)] = 2
    upscaling_resize_w: Annotated[Whole, Field(ge=1, le=16384)] = 512
    upscaling_resize_h: Annotated[Whole, Field(ge=1, le=16384)] = 512
    upscaling_crop: bool = True
    upscaler_1: str | None = "None"
    upscaler_2: str | None = "None"
    extras_upscaler_2_visibility: float | None = 0
    upscale_first: bool | None = False


class EnlargeIn(_EnlargeIn):
    """A picture to enlarge."""

    image: Picture


class NamedPicture(Fields):
    """A picture of several."""

    data: Picture
    name: str


class EnlargeManyIn(_EnlargeIn):
    """Pictures to enlarge."""

    imageList: Annotated[list[NamedPicture], Field(min_length=1, max_length=64)]  # noqa: N815 - their name


class EnlargedOut(BaseModel):
    """A picture, PNG in base64."""

    html_info: str
    image: str


class EnlargedManyOut(BaseModel):
    """Pictures, PNG in base64."""

    html_info: str
    images: list[str]


@router.post("/png-info", responses=ERRORS)
def png_info(asked: PngInfoIn) -> PngInfoOut:
    """Read how a picture was made, by this program or another."""
    texts = read_texts(from_base64(asked.image.strip(), "image"), "image")
    clean = {name: text.encode(errors="replace").decode() for name, text in texts.items()}
    info = clean.pop("parameters", "")
    return PngInfoOut(info=info, items=clean, parameters=_parts(info) if info else {})


@router.get("/interrogate", status_code=404, responses=ERRORS)  # clients look with GET whether there is one
@router.post("/interrogate", status_code=404, responses=ERRORS)
def interrogate() -> None:
    """Refuse: no model here puts a picture into words."""
    raise HTTPException(404, "this server has no model that describes pictures")


@router.post("/extra-single-image", responses=ERRORS)
async def enlarge(asked: EnlargeIn, desk: TheDesk) -> EnlargedOut:
    """Enlarge or shrink a picture."""
    return EnlargedOut(html_info="", image=await asyncio.to_thread(_enlarged, asked.image, asked, desk))


@router.post("/extra-batch-images", responses=ERRORS)
async def enlarge_many(asked: EnlargeManyIn, desk: TheDesk) -> EnlargedManyOut:
    """Enlarge or shrink pictures."""
    images = [await asyncio.to_thread(_enlarged, one.data, asked, desk) for one in asked.imageList]
    return EnlargedManyOut(html_info="", images=images)


def _parts(info: str) -> dict[str, str]:
    """The prompts and pairs of a `parameters` text, the size also as its two sides."""
    read = parameters.read(info)
    width, cross, height = read.pairs.get("Size", "").partition("x")
    sides = {"Size-1": width, "Size-2": height} if cross else {}
    return {"Prompt": read.prompt, "Negative prompt": read.negative_prompt, **read.pairs, **sides}


def _enlarged(text: str, asked: _EnlargeIn, desk: Desk) -> str:
    how = _resampling(asked)
    data = from_base64(text, "image")
    desk.check_picture("image", data)
    image = inputs.colours(data, "image")
    if asked.resize_mode == 0:
        size = (round(image.width * asked.upscaling_resize), round(image.height * asked.upscaling_resize))
    else:
        size = (asked.upscaling_resize_w, asked.upscaling_resize_h)
    most = desk.settings.limits.pixels
    if min(size) < 1 or size[0] * size[1] > most:
        raise RequestError(f"{size[0]}x{size[1]} is no size that this server allows: from 1 to {most} pixels")
    if how is not None:
        image = _resized(image, size, how, crop=asked.upscaling_crop and asked.resize_mode == 1)
    return base64.b64encode(encode(image, {})).decode()


def _resampling(asked: _EnlargeIn) -> Image.Resampling | None:
    """The way to resize; None to leave a picture as it is. RequestError for what is not offered."""
    for name in ("gfpgan_visibility", "codeformer_visibility", "extras_upscaler_2_visibility"):
        if getattr(asked, name):
            raise RequestError(f"{name} is not supported here; leave it out", option=name)
    if (name := asked.upscaler_1 or "None") not in UPSCALERS:
        raise RequestError(f"upscaler_1 must be one of {', '.join(UPSCALERS)}", option="upscaler_1")
    return {"Lanczos": Image.Resampling.LANCZOS, "Nearest": Image.Resampling.NEAREST}.get(name)


def _resized(image: Image.Image, size: tuple[int, int], how: Image.Resampling, *, crop: bool) -> Image.Image:
    return ImageOps.fit(image, size, how) if crop else image.resize(size, how)
