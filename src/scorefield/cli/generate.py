"""scorefield generate: pictures from prompts. Its options are the fields of Request."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scorefield import atomic
from scorefield.cli import common
from scorefield.errors import RequestError
from scorefield.files import video
from scorefield.files.output_names import OutputError, OutputNames
from scorefield.request import Option, Request, options, parse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scorefield.api import Group, Pipeline
    from scorefield.cli.write_outputs import Outputs


# Written out, since a help that asked the registers for the names would import torch; a test compares the two.
SAMPLERS = (
    "ddpm, ddim, euler, euler_ancestral, heun, dpm2, lms, dpmpp_2m, dpmpp_2m_sde, dpmpp_2m_sde_heun, dpmpp_sde, "
    "dpmpp_3m_sde, unipc, optimise"
)
SCHEDULES = (
    "karras, exponential, polyexponential, kl_optimal, normal, sgm_uniform, simple, ddim_uniform, beta, beta_sigma, "
    "linear_quadratic, smoothstep, trailing, leading, linspace"
)
EPILOG = (
    f"Samplers: {SAMPLERS}.\n\nSchedules: {SCHEDULES}.\n\nThe names that other programs use work, too. "
    "What is left out is as the model says: see `scorefield models`."
)
_COMPILED = "the network is compiled at its first step, which takes minutes"


# The headings of the help, each by the first of its options.
HEADINGS = {
    "negative_prompt": "Words",
    "model": "Model",
    "steps": "Walk",
    "count": "Size and number",
    "image": "Start from a picture",
    "tile": "Machine",
    "output": "Files and messages",
}


class Sectioned(click.Command):
    """A command whose help has its options under headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows: dict[str, list[tuple[str, str]]] = {}
        heading = ""
        for param in self.get_params(ctx):
            heading = HEADINGS.get(param.name or "", heading)
            if isinstance(param, click.Option) and (row := param.get_help_record(ctx)) is not None:
                rows.setdefault(heading, []).append(row)
        for heading, listed in rows.items():
            with formatter.section(heading):
                formatter.write_dl(listed)


def _with_request_options(command: click.Command) -> click.Command:
    added = {name: _click(name, option, words) for name, (option, words) in options().items()}
    size = next(param for param in command.params if param.name == "size")
    command.params.remove(size)
    command.params[1:1] = added.values()
    command.params.insert(command.params.index(added["width"]), size)
    return command


def _click(name: str, option: Option, words: str) -> click.Option:
    if option.switch:
        return click.Option([name, *option.flags], help=words, is_flag=True, default=None)
    metavar = option.metavar or name.rsplit("_", 1)[-1].upper()
    return click.Option([name, *option.flags], help=words, metavar=metavar, multiple=option.many)


@_with_request_options
@click.command("generate", cls=Sectioned, epilog=EPILOG)
@click.argument("prompts", nargs=-1, metavar="PROMPT...")
@click.option("--size", metavar="WxH", help="Width and height at once, or one number for a square.")
@click.option("--output", "-o", type=click.Path(path_type=Path), default=".", help="A folder, or a name in .png.")
@click.option("--overwrite", is_flag=True, help="Replace files instead of taking the next free name.")
@click.option("--sheet", is_flag=True, help="Also write a contact sheet of every step.")
@click.option("--film", "filmed", is_flag=True, help="Also write a film of every step (mp4).")
@click.option("--dry-run", is_flag=True, help="Say what would be drawn, and draw nothing.")
@click.option("--quiet", "-q", is_flag=True, help="No progress bar, and no notes but warnings.")
@common.format_option
def command(
    prompts: tuple[str, ...], size: str | None, output: Path, overwrite: bool, sheet: bool, filmed: bool,
    dry_run: bool, quiet: bool, form: str, **given: str | bool | tuple[str, ...] | None,
) -> None:  # fmt: skip
    """Draw a picture of every PROMPT.

    Each is a PNG file that records how it was made: see `scorefield inspect` and `scorefield replay`.
    """
    request = _request(prompts, {"size": size, **given})
    names = _checked_names(output, filmed=filmed, dry_run=dry_run)
    with common.drawing():
        from scorefield.api.embeddings import embedding_lines
        from scorefield.api.loading import load_for
        from scorefield.api.start import strength_line
        from scorefield.cli.write_outputs import Outputs

        start = time.perf_counter()
        pipe = load_for(request, _silent if quiet else common.say)
        groups = pipe.plan(request)
        loaded = time.perf_counter() - start
        if not quiet:
            notes = [strength_line(groups[0].request), *embedding_lines(pipe.model)]
            notes += [_COMPILED] if pipe.model.compiled else []
            for line in filter(None, notes):
                common.say(line)
        if dry_run:
            _show_plan(pipe, groups, form)
        else:
            outputs = Outputs(names=names, overwrite=overwrite, sheet=sheet, film=filmed)
            _draw(pipe, groups, outputs, quiet=quiet, form=form, loaded=loaded)


def _silent(line: str) -> None:
    pass


def _request(prompts: tuple[str, ...], given: dict[str, str | bool | tuple[str, ...] | None]) -> Request:
    if not all(prompt.strip() for prompt in prompts):
        raise click.UsageError("a prompt is empty; say what to draw")
    try:
        if not prompts and given["image_prompt"] is None:
            raise RequestError("there is no prompt; say what to draw")
        words = {"prompts": prompts} if prompts else {}
        return parse(words | {name: value for name, value in given.items() if value not in (None, ())})
    except RequestError as error:
        raise click.UsageError(str(error)) from None


def _checked_names(output: Path, *, filmed: bool, dry_run: bool) -> OutputNames:
    """Where to write, tried before any long work; the error if a picture or a film could not be kept."""
    try:
        names = OutputNames(output)
        if filmed:
            video.require_video()
    except OutputError as error:
        raise click.UsageError(str(error)) from None
    except video.MissingExtraError as error:
        raise click.ClickException(str(error)) from None
    if not dry_run:
        with atomic.staged(names.folder):
            pass
    return names


def _draw(
    pipe: "Pipeline", groups: "Sequence[Group]", outputs: "Outputs", *, quiet: bool, form: str, loaded: float
) -> None:
    from scorefield.api import words
    from scorefield.cli.write_outputs import draw

    request = groups[0].request
    if pipe.model.spec.defaults.long_prompt == "chunks" and form == "text" and not quiet:
        common.say(words.tokens_line(request, pipe.model))
    start, drawn = time.perf_counter(), []
    for picture, files in draw(pipe, groups, outputs, quiet=quiet):
        written = {name: str(path) for name, path in files._asdict().items() if path is not None}
        drawn.append({"prompt": picture.prompt, "seed": picture.seed, **written})
        if form == "text":
            click.echo("\n".join(written.values()))
    if form == "json":
        seconds = {"load": round(loaded, 3), "draw": round(time.perf_counter() - start, 3)}
        tokens, settled = words.tokens_record(request, pipe.model), request.model_dump(mode="json")
        common.show({"pictures": drawn, "tokens": tokens, "request": settled, "seconds": seconds}, form, "")


def _show_plan(pipe: "Pipeline", groups: "Sequence[Group]", form: str) -> None:
    from scorefield.api import words

    request = groups[0].request
    settled = request.model_dump(mode="json")
    pictures = [
        {"prompt": prompt, "seed": seed}
        for group in groups
        for prompt, seed in zip(group.prompts, group.seeds, strict=True)
    ]
    lines = [f"{name}: {value}" for name, value in settled.items() if name != "prompts" and value not in (None, "", [])]
    lines += [f"picture: {one['prompt']} (seed {one['seed']})" for one in pictures]
    lines.append(words.tokens_line(request, pipe.model))
    tokens = words.tokens_record(request, pipe.model)
    common.show({"pictures": pictures, "tokens": tokens, "request": settled}, form, "\n".join(lines))
