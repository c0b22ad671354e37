"""scorefield generate: pictures and films from prompts. Its options are the fields of Request."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scorefield import atomic
from scorefield.cli import common
from scorefield.cli.options import add_request_options, typed_flags
from scorefield.errors import RequestError
from scorefield.files import video
from scorefield.files.output_names import OutputNames
from scorefield.request import Request, parse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scorefield.api import Job
    from scorefield.cli.write_outputs import Outputs


# Written out, since help that read the names from their modules would import torch; a test compares the two.
SAMPLERS = (
    "ddpm, ddim, euler, euler_ancestral, heun, dpm2, lms, dpmpp_2m, dpmpp_2m_sde, dpmpp_2m_sde_heun, dpmpp_sde, "
    "dpmpp_3m_sde, unipc, optimise"
)
SCHEDULES = (
    "karras, exponential, polyexponential, kl_optimal, normal, sgm_uniform, simple, ddim_uniform, beta, beta_sigma, "
    "linear_quadratic, smoothstep, flow_unipc, flow_unipc_diffusers, trailing, leading, linspace"
)
EPILOG = (
    f"Samplers: {SAMPLERS}.\n\nSchedules: {SCHEDULES}.\n\nOther programs' names for these work, too. "
    "Options that are left out take the model's defaults: see `scorefield models`."
)
_OUTPUT = "A folder, or a name ending in .png; for films .mp4, .webp, .gif or .png."
_COMPILED = "the network is compiled at its first step, which takes minutes"


def _steps(context: click.Context, parameter: click.Parameter, value: str | None) -> frozenset[int] | None:
    """The steps of a list such as 5,10,20; step 0 is the start."""
    if value is None:
        return None
    parts = [part.strip() for part in value.split(",")]
    if not all(part.isascii() and part.isdigit() and len(part) <= 4 for part in parts):
        raise click.BadParameter(f"{value[:60]!r} is not a list of steps such as 5,10,20")
    return frozenset(map(int, parts))


@add_request_options
@click.command("generate", cls=common.Sectioned, epilog=EPILOG)
@click.argument("prompts", nargs=-1, metavar="PROMPT...")
@click.option("--output", "-o", type=click.Path(path_type=Path), default=".", help=_OUTPUT)
@click.option("--overwrite", is_flag=True, help="Replace files instead of taking the next free name.")
@click.option("--sheet", is_flag=True, help="Also write a contact sheet of every step.")
@click.option("--at", callback=_steps, metavar="STEPS", help="Of which steps the sheet is, such as 5,10,20 [all].")
@click.option("--walk-video", "--film", is_flag=True, help="Also write a video of every step (mp4).")
@click.option("--anyway", is_flag=True, help="Try even if the memory will not suffice.")
@click.option("--dry-run", is_flag=True, help="Print what would be drawn, and draw nothing.")
@click.option("--quiet", "-q", is_flag=True, help="No progress bar, and no notes but warnings.")
@common.format_option
@click.pass_context
def command(
    context: click.Context, /, prompts: tuple[str, ...], output: Path, overwrite: bool, sheet: bool,
    at: frozenset[int] | None, walk_video: bool, anyway: bool, dry_run: bool, quiet: bool, form: str,
    **given: str | bool | tuple[str, ...] | None,
) -> None:  # fmt: skip
    """Draw a picture of every PROMPT, or a film if the model draws films.

    Each is a file that records how it was made: see `scorefield inspect` and `scorefield replay`.
    """
    with common.failures(typed_flags(context)):
        request = read_request(prompts, given)
        if at is not None and not sheet:
            raise RequestError("--at is for a sheet: give --sheet, too", option="at")
        names = _checked_names(output, walk_video=walk_video, dry_run=dry_run)
    with common.drawing(typed_flags(context)):
        from scorefield.api import prepare
        from scorefield.cli.write_outputs import Outputs

        job = prepare(request, anyway=anyway or dry_run)
        _check_steps(job, at)
        ending = names.ending(film=job.plan.canvas.frames > 1)
        if not quiet:
            for line in _lines(job):
                common.say(line)
        if dry_run:
            for note in job.plan.notes:
                common.say(f"warning: {note.text}")
            _show_plan(job, form)
        else:
            outputs = Outputs(
                names=names, ending=ending, overwrite=overwrite, sheet=sheet, walk_video=walk_video, at=at
            )
            _draw(job, outputs, quiet=quiet, form=form)


def read_request(prompts: tuple[str, ...], given: dict[str, str | bool | tuple[str, ...] | None]) -> Request:
    """The request of a command line; RequestError for what is wrong in it."""
    if not prompts and given["image_prompt"] is None:
        raise RequestError('there is no prompt; give one, or "" for a random picture')
    words = {"prompts": prompts} if prompts else {}
    return parse(words | {name: value for name, value in given.items() if value not in (None, ())})


def _check_steps(job: "Job", at: frozenset[int] | None) -> None:
    """RequestError for a step that no stage of the job has."""
    most = max(stage.steps for stage in job.plan.stages)
    if at and max(at) > most:
        raise RequestError(f"--at {max(at)}: the walk has {most} steps", option="at")


def _checked_names(output: Path, *, walk_video: bool, dry_run: bool) -> OutputNames:
    """The names of the outputs; fails before any long work if a picture or a video could not be written."""
    names = OutputNames(output)
    if walk_video:
        video.require_video()
    if not dry_run:
        with atomic.staged(names.folder):
            pass
    return names


def _lines(job: "Job") -> "Iterator[str]":
    """Remarks to print before the work begins."""
    yield from (line for stage in job.plan.stages for line in stage.remarks)
    for word in job.plan.words:
        yield f"{word.token}: {word.vectors} vector{'s' * (word.vectors > 1)} of {word.path}"
    if job.plan.request.compiled:
        yield _COMPILED


def _draw(job: "Job", outputs: "Outputs", *, quiet: bool, form: str) -> None:
    from scorefield.cli.write_outputs import Written, write_all

    if job.plan.request.long_prompt == "chunks" and form == "text" and not quiet:
        common.say(_tokens_line(job))
    start, drawn, loaded = time.perf_counter(), [], 0.0
    for event in write_all(job, outputs, common.say, quiet=quiet):
        if isinstance(event, Written):
            written = {name: str(path) for name, path in event.files.items()}
            drawn.append({"prompt": event.media.prompt, "seed": event.media.seed, **written})
            if form == "text":
                for path in written.values():
                    common.show_path(path)
        else:
            loaded = event.seconds["load"]
    if form == "json":
        seconds = {"load": round(loaded, 3), "draw": round(time.perf_counter() - start - loaded, 3)}
        record = {"pictures": drawn, "tokens": _tokens(job), "request": job.plan.request.model_dump(mode="json")}
        common.show(record | {"seconds": seconds}, form, "")


def _show_plan(job: "Job", form: str) -> None:
    settled = job.plan.request.model_dump(mode="json")
    pictures = [
        {"prompt": prompt, "seed": seed}
        for batch in job.plan.batches
        for prompt, seed in zip(batch.prompts, batch.seeds, strict=True)
    ]
    lines = [f"{name}: {value}" for name, value in settled.items() if name != "prompts" and value not in (None, "", [])]
    lines += [f"picture: {one['prompt']} (seed {one['seed']})" for one in pictures]
    lines += [_tokens_line(job)] if job.plan.lengths else []
    common.show({"pictures": pictures, "tokens": _tokens(job), "request": settled}, form, "\n".join(lines))


def _tokens(job: "Job") -> dict[str, object]:
    """The lengths of the prompts, in order, and of the negative prompt, as plain JSON."""
    counted, request = {text: count._asdict() for text, count in job.plan.lengths.items()}, job.plan.request
    return {
        "prompts": [counted.get(prompt) for prompt in request.prompts],
        "negative_prompt": counted.get(request.negative_prompt),
    }


def _tokens_line(job: "Job") -> str:
    """The lengths of the longest prompt and of the negative prompt."""
    counted, request = job.plan.lengths, job.plan.request
    longest = max((counted[prompt] for prompt in request.prompts), key=lambda count: count.tokens)
    of = f" (the longest of {len(request.prompts)} prompts)" if len(request.prompts) > 1 else ""
    negative = f"; negative prompt {counted[request.negative_prompt]}" if request.negative_prompt else ""
    return f"tokens: {longest}{of}{negative}"
