"""The fields of a request as options of a command, and the options as typed."""

from collections.abc import Mapping

import click

from scorefield.cli.common import ARGUMENTS, Sectioned
from scorefield.request import GROUPS, Option, fields


def add_request_options(command: click.Command) -> click.Command:
    """Give a command every option of a request, under its group's heading."""
    if not isinstance(command, Sectioned):
        raise TypeError("the options of a request need a Sectioned command")
    shown = [
        (group.title, _click(name, option, words))
        for group in GROUPS
        for name, option, words in fields(group)
        if option.flags
    ]
    titles = list(dict.fromkeys(title for title, _ in shown))
    command.params[1:1] = [option for title in titles for other, option in shown if other == title]
    command.headings = {option.name or "": title for title, option in shown}
    return command


def typed_flags(context: click.Context) -> Mapping[str, str]:
    """The given options as typed: "steps" may be "--num-inference-steps"."""
    arguments = [one.partition("=")[0] for one in context.meta.get(ARGUMENTS, ())]
    return {
        param.name or "": flag
        for param in context.command.params
        for flag in (*param.opts, *param.secondary_opts)
        if isinstance(param, click.Option) and any(_is_written(flag, one) for one in arguments)
    }


def _is_written(flag: str, argument: str) -> bool:
    """Whether an argument is a flag, alone or, if it has one letter, with its value attached: -b4."""
    return argument == flag or (len(flag) == 2 and argument.startswith(flag))


def _click(name: str, option: Option, words: str) -> click.Option:
    if option.switch:
        return click.Option([name, *option.flags], help=words, is_flag=True, default=None)
    metavar = option.metavar or name.rsplit("_", 1)[-1].upper()
    return click.Option([name, *option.flags], help=words, metavar=metavar, multiple=option.many)
