"""scorefield serve: the page, and the HTTP interfaces that other programs speak to."""

import webbrowser
from pathlib import Path

import click

from scorefield.cli import common
from scorefield.errors import MissingError
from scorefield.request import parse_choice

_FOLDER = "scorefield-server"


@click.command("serve", cls=common.Sectioned)
@click.option("--models", "-m", "folders", type=click.Path(path_type=Path, exists=True, file_okay=False), multiple=True,
              help="A folder with models, which are named by their files; may be repeated.")  # fmt: skip
@click.option("--output", "-o", type=click.Path(path_type=Path), default=_FOLDER, show_default=True,
              help="The folder of jobs and results.")  # fmt: skip
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=7860, show_default=True, help="The port; 0 for any.")
@click.option("--api-key", envvar="SCOREFIELD_API_KEY", help="The key that clients must send [SCOREFIELD_API_KEY].")
@click.option("--allow-host", "hosts", multiple=True, help="A further name by which this server is called.")
@click.option("--webhook-host", "webhook_hosts", multiple=True, help="A host that web-hooks may call.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
@click.option("--dtype", default="auto", show_default=True, help="float32, bfloat16, float16 or auto.")
@click.option("--offload", is_flag=True, help="Hold one network of a large model in memory at a time.")
@click.option("--memory", type=click.FloatRange(min=0, min_open=True), metavar="GB",
              help="Memory for models; those not used for longest are unloaded [all].")  # fmt: skip
@click.option("--together", type=click.IntRange(1, 64), metavar="N",
              help="Outputs to draw in one batch [8 on a GPU, 1 on a CPU].")  # fmt: skip
@click.option("--most-waiting", type=click.IntRange(1), default=256, show_default=True, help="Jobs that may wait.")
@click.option("--most-outputs", type=click.IntRange(1, 1024), default=64, show_default=True, help="Outputs of a job.")
@click.option("--most-steps", type=click.IntRange(1, 1000), default=150, show_default=True, help="Steps of a job.")
@click.option("--most-side", type=click.IntRange(64, 4096), default=2048, show_default=True,
              help="Pixels of a side; larger pictures may not have more than its square.")  # fmt: skip
@click.option("--rate", default="600/minute", show_default=True, help="Requests for work that an address may send.")
@click.option("--keep-days", type=click.FloatRange(min=0, min_open=True), default=90.0, show_default=True,
              help="Days to keep finished jobs.")  # fmt: skip
@click.option("--no-browser", is_flag=True, help="Do not open the page in a browser.")
@click.option("--log", "form", type=click.Choice(["text", "json"]), default="text", show_default=True,
              help="How to write the log, which holds no prompts.")  # fmt: skip
def command(
    folders: tuple[Path, ...], output: Path, host: str, port: int, api_key: str | None, hosts: tuple[str, ...],
    webhook_hosts: tuple[str, ...], device: str, dtype: str, offload: bool, memory: float | None, together: int | None,
    most_waiting: int, most_outputs: int, most_steps: int, most_side: int, rate: str, keep_days: float,
    no_browser: bool, form: str,
) -> None:  # fmt: skip
    """Serve the page, and interfaces for programs: OpenAI's, AUTOMATIC1111's, and our own (GET /openapi.json).

    Only this machine can connect, unless --host says otherwise. Results stay in the folder; a restart goes on with
    what was not finished.
    """
    with common.drawing():
        try:
            from scorefield.server.running import Running
        except ImportError as error:
            raise MissingError(f"a server needs the package {error.name}: pip install 'scorefield[server]'") from None
        from scorefield.queue.jobs import Limits
        from scorefield.server.settings import Settings
        from scorefield.zoo.model_folders import listed_in_environment

        limits = Limits(
            waiting=most_waiting, outputs=most_outputs, steps=most_steps, pixels=most_side**2,
            keep_seconds=keep_days * 86400,
        )  # fmt: skip
        settings = Settings(
            host=host, port=port, api_key=api_key, hosts=hosts, webhook_hosts=webhook_hosts, limits=limits, rate=rate
        )
        machine = parse_choice({"device": device, "dtype": dtype, "offload": offload})
        running = Running.open(
            output, settings, machine, folders=(*folders, *listed_in_environment()),
            memory=None if memory is None else int(memory * 1e9), together=together, log=form,
        )  # fmt: skip
        with running:
            common.say(f"scorefield serves {running.address} (Ctrl-C stops it)")
            if not no_browser and settings.is_local:
                webbrowser.open(running.address)
            running.run()
