"""AUTOMATIC1111's two ways to draw: from words, and from a picture and words."""

import asyncio
import inspect
import json
import time
from collections.abc import Mapping, Sequence

from fastapi import APIRouter, HTTPException, Request

from scorefield import __version__
from scorefield.errors import MachineError, RequestError
from scorefield.files import parameters
from scorefield.queue.entry import Entry, State, Wish
from scorefield.sample import samplers
from scorefield.server import a1111_pictures, a1111_unsupported
from scorefield.server.a1111_fields import ERRORS, FACE, DrawIn, DrawnOut, Img2ImgIn, Txt2ImgIn
from scorefield.server.a1111_options import Chosen, TheOptions
from scorefield.server.answers import NotFound
from scorefield.server.desk import Desk, TheDesk, client_of, failed

router = APIRouter(prefix="/sdapi/v1", tags=["AUTOMATIC1111"])


@router.post("/txt2img", responses=ERRORS)
async def txt2img(asked: Txt2ImgIn, request: Request, desk: TheDesk, options: TheOptions) -> DrawnOut:
    """Draw from words. The answer comes when it is drawn, or interrupted; a client that leaves ends its job."""
    return await _draw(asked, request, desk, options)


@router.post("/img2img", responses=ERRORS)
async def img2img(asked: Img2ImgIn, request: Request, desk: TheDesk, options: TheOptions) -> DrawnOut:
    """Draw from a picture and words, all of it or where a mask is white."""
    if not asked.init_images:
        raise HTTPException(404, "Init image not found")
    return await _draw(asked, request, desk, options)


async def _draw(asked: DrawIn, request: Request, desk: Desk, options: TheOptions) -> DrawnOut:
    a1111_unsupported.check(asked)
    overrides, shelf = asked.override_settings or {}, desk.jobs.shelf
    chosen = options.chosen(overrides, shelf)
    values = await asyncio.to_thread(_values, asked, chosen, desk)
    if asked.override_settings_restore_afterwards is False:
        options.change(overrides, shelf)
    wish = Wish(client=client_of(request), face=FACE, label=asked.force_task_id or "")
    entry = await desk.submit(values, wish)
    entry = await desk.finished(entry.id, request)
    if entry.state is State.FAILED:
        raise MachineError(failed(entry))
    return await asyncio.to_thread(_answer, asked, entry, chosen, desk)


def _values(asked: DrawIn, chosen: Chosen, desk: Desk) -> dict[str, object]:
    """The option list of a request. What the client leaves out is left to the model."""
    taken = desk.jobs.shelf.options(chosen.model)
    if "frames" in taken:
        raise RequestError(f"the model {chosen.model} draws films, which this interface cannot send; use /jobs")
    given = {name: getattr(asked, name) for name in ("steps", "cfg_scale", "width", "height", "negative_prompt")}
    values: dict[str, object] = {
        "model": chosen.model,
        "prompts": asked.prompt or "",
        "seed": asked.seed,
        "count": (asked.batch_size or 1) * (asked.n_iter or 1),
        **{name: value for name, value in given.items() if value is not None},
        **_course(asked),
    }
    if "weighting" in taken:
        values["weighting"] = "a1111"
    if chosen.clip_skip > 1:
        values["clip_skip"] = chosen.clip_skip
    return values | (a1111_pictures.start(asked, desk) if isinstance(asked, Img2ImgIn) else {})


def _course(asked: DrawIn) -> dict[str, object]:
    """The sampler and the schedule; an eta only for samplers that draw fresh noise without one."""
    name = asked.sampler_name or asked.sampler_index or "Euler"
    try:
        samplers.find(name)
    except RequestError:
        raise NotFound("Sampler not found; GET /sdapi/v1/samplers lists them") from None
    record, schedule = samplers.find_a1111(name, asked.scheduler or None)
    course: dict[str, object] = {"sampler": record.name, "schedule": schedule}
    if asked.eta is not None and record.stochastic and "eta" in inspect.signature(record.sampler).parameters:
        course["eta"] = asked.eta
    return course


def _answer(asked: DrawIn, entry: Entry, chosen: Chosen, desk: Desk) -> DrawnOut:
    try:
        files = [desk.jobs.path(entry.id, made.file).read_bytes() for made in desk.jobs.outputs(entry.id)]
    except FileNotFoundError:
        raise NotFound("the job was deleted before its pictures were sent") from None
    with_grid = bool(asked.save_images) and chosen.return_grid and len(files) > 1
    files = [a1111_pictures.grid(files), *files] if with_grid else files
    sent = files if asked.send_images is not False else []
    return DrawnOut(
        images=[a1111_pictures.encoded(data, chosen.form, chosen.quality) for data in sent],
        parameters=_echo(asked, entry),
        info=json.dumps(_info(asked, entry, [a1111_pictures.parameters_in(data) for data in files], int(with_grid))),
    )


def _echo(asked: DrawIn, entry: Entry) -> dict[str, object]:
    """The request; pictures come back only if the client wants them."""
    echo = asked.model_dump(mode="json")
    if isinstance(asked, Img2ImgIn) and not asked.include_init_images:
        echo |= {"init_images": None, "mask": None}
    filled = {name: getattr(entry.request, name) for name in ("steps", "cfg_scale", "width", "height")}
    return echo | {name: value for name, value in filled.items() if echo[name] is None}


def _info(asked: DrawIn, entry: Entry, texts: Sequence[str], first: int) -> Mapping[str, object]:
    """What AUTOMATIC1111 tells about its pictures."""
    drawn, count, subseed = entry.request, entry.total, -1 if asked.subseed is None else asked.subseed
    seed = drawn.seed or 0
    schedule = parameters.SCHEDULES.get(drawn.schedule or "", drawn.schedule)
    pairs = parameters.read(texts[0]).pairs if texts else {}
    return {
        "prompt": drawn.prompts[0],
        "all_prompts": [drawn.prompts[0]] * count,
        "negative_prompt": drawn.negative_prompt,
        "all_negative_prompts": [drawn.negative_prompt] * count,
        "seed": seed,
        "all_seeds": [(seed + k) % 2**64 for k in range(count)],
        "subseed": subseed,
        "all_subseeds": [subseed] * count,
        "subseed_strength": 0,
        "width": drawn.width,
        "height": drawn.height,
        "sampler_name": parameters.SAMPLERS.get(drawn.sampler or "", drawn.sampler),
        "cfg_scale": drawn.cfg_scale,
        "steps": drawn.steps,
        "batch_size": asked.batch_size or 1,
        "restore_faces": False,
        "face_restoration_model": None,
        "sd_model_name": drawn.model,
        "sd_model_hash": pairs.get("Model hash", ""),
        "sd_vae_name": None,
        "sd_vae_hash": None,
        "seed_resize_from_w": -1,
        "seed_resize_from_h": -1,
        "denoising_strength": drawn.strength,
        "extra_generation_params": {"Schedule type": schedule},
        "index_of_first_image": first,
        "infotexts": list(texts),
        "styles": [],
        "job_timestamp": time.strftime("%Y%m%d%H%M%S", time.localtime(entry.created)),
        "clip_skip": drawn.clip_skip,
        "is_using_inpainting_conditioning": False,
        "version": f"scorefield {__version__}",
        "notes": list(entry.notes),
    }
