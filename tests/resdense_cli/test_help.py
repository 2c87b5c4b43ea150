"""Every option says in its help what its value is, in which unit, and what holds without it."""

import inspect
import typing

import pytest

from resdense_cli.commands import train
from resdense_cli.main import COMMANDS

VERBS = ("List", "Train", "Measure", "Turn", "Check", "Rebuild", "Serve", "Make")
UNITS = (
    *("pixels", "images", "points", "share", "passes", "epochs", "threads", "inferences", "rate", "decay", "number"),
    *("seconds", "minutes", "seed"),
)


def _options():
    for name, module in COMMANDS.items():
        for parameter in inspect.signature(module.command).parameters.values():
            kind, described = typing.get_args(parameter.annotation)
            yield pytest.param(kind, described, parameter.default, id=f"{name}-{parameter.name}")


OPTIONS = list(_options())


def _kinds(kind):
    """The types of `kind` without None: (bool,) of `bool | None`."""
    return tuple(part for part in typing.get_args(kind) or (kind,) if part is not type(None))


@pytest.mark.parametrize(("kind", "described", "default"), OPTIONS)
def test_help_is_a_sentence(kind, described, default):
    assert described.help and described.help.endswith("."), described.help


@pytest.mark.parametrize(("kind", "described", "default"), [row for row in OPTIONS if row.values[0] is not bool])
def test_help_says_the_default_of_every_value(kind, described, default):
    shown = default is not None and described.show_default
    told = any(word in described.help for word in ("Default: ", "Required"))
    assert shown or told, described.help


@pytest.mark.parametrize(
    ("kind", "described", "default"), [row for row in OPTIONS if {int, float} & set(_kinds(row.values[0]))]
)
def test_help_says_the_unit_of_every_number(kind, described, default):
    assert any(unit in described.help.lower() for unit in UNITS), described.help


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_begins_with_a_verb(name):
    assert COMMANDS[name].command.__doc__.split()[0] in VERBS


def test_the_help_of_train_begins_with_what_is_needed_daily_and_no_other_command_is_grouped():
    import typer

    from resdense_cli.main import app

    commands = typer.main.get_command(app).commands
    panels = {option.name: getattr(option, "rich_help_panel", None) for option in commands["train"].params}
    daily = {name for name, panel in panels.items() if panel is None}
    assert daily == {"model", "data", "out", "recipe", "show", "epochs", "weights", "freeze", "seed", "resume"}
    assert {panel for panel in panels.values() if panel} == set(train.PANELS)
    assert not any(
        getattr(option, "rich_help_panel", None)
        for name, command in commands.items()
        for option in command.params
        if name != "train"
    )
