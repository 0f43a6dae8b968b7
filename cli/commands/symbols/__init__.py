"""`assetq symbols`: the tracked assets."""

from __future__ import annotations

import click

from cli.commands.symbols.importing import import_
from cli.commands.symbols.listing import list_, show
from cli.commands.symbols.provider import validate
from cli.commands.symbols.verbs import pause, remove, resume


@click.group()
def symbols() -> None:
    """The tracked assets."""


for _command in (list_, show, import_, validate, pause, resume, remove):
    symbols.add_command(_command)
