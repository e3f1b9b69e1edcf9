"""`commands.md`: the command line, from its own help."""

import importlib
from typing import Any, Final

import typer

from docs.pages.markdown import code, table
from worker.operations import cli

OF_THE_MACHINE: Final = {"concurrency": "the number of cores"}
"""Defaults that differ from machine to machine."""


def page() -> str:
    """The page."""
    return "\n\n".join([
        "# Commands",
        "Every command has `--help`. An error is one line on stderr. Success exits 0, wrong usage 2.",
        *(text for name, command in commands().items() for text in _command(name, command)),
    ])  # fmt: skip


def commands() -> dict[str, Any]:
    """Every command that does something, by its full name: `trivet dev start`."""
    app = typer.Typer()
    for name in cli.COMMANDS:
        importlib.import_module(f"worker.operations.cli.{name}").register(app)
    return _leaves("trivet", typer.main.get_command(app))


def _leaves(name: str, command: Any) -> dict[str, Any]:
    if not hasattr(command, "commands"):
        return {name: command}
    leaves: dict[str, Any] = {}
    for child in sorted(command.commands):
        leaves |= _leaves(f"{name} {child}", command.commands[child])
    return leaves


def _command(name: str, command: Any) -> list[str]:
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    options = [parameter for parameter in command.params if parameter.param_type_name == "option"]
    usage = " ".join([name, *map(_usage, arguments), *(["[OPTIONS]"] if options else [])])
    texts = [f"## {name}", f"```text\n{usage}\n```", *_help(command.help)]
    if command.params:
        rows = [(code(_name(one)), one.help or "", _default(one)) for one in (*arguments, *options)]
        texts.append(table(["takes", "what for", "default"], rows))
    return texts


def _help(text: str) -> list[str]:
    return [_example(" ".join(paragraph.split())) for paragraph in text.split("\n\n")]


def _example(paragraph: str) -> str:
    if not paragraph.startswith("Example: "):
        return paragraph
    return f"```sh\n{paragraph.removeprefix('Example: ')}\n```"


def _name(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return _usage(parameter)
    return "/".join([*parameter.opts, *parameter.secondary_opts])


def _usage(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper())


def _default(parameter: Any) -> str:
    if parameter.required:
        return "must be given"
    if parameter.name in OF_THE_MACHINE:
        return OF_THE_MACHINE[parameter.name]
    none = parameter.default is None or parameter.default == "" or parameter.default is False
    return "" if none else code(parameter.default)
