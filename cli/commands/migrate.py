"""`assetq migrate`: applies the migrations of the database."""

from __future__ import annotations

import click

from cli.session import load_settings
from cli.show.output import note
from db.connection import connect
from db.migrate import migrate as apply
from db.migrate import pending
from db.symbols import SymbolRepository


@click.command()
@click.option(
    "--check", is_flag=True, help="Change nothing; exit code 1 if a migration is missing."
)
def migrate(check: bool) -> None:
    """Bring the database up to date.

    Adds what is missing, changes no data and drops nothing. Safe to run again, also from several
    machines at once.
    """
    settings = load_settings()
    if check:
        missing = pending(settings.database_url)
        click.echo("\n".join(f"missing: {name}" for name in missing) or "nothing to do")
        raise click.exceptions.Exit(1 if missing else 0)
    applied = apply(settings.database_url)
    click.echo("\n".join(f"applied: {name}" for name in applied) or "nothing to do")
    with connect(settings.database_url) as connection:
        if not SymbolRepository(connection).list():
            note("no assets yet. Next: assetq symbols import")
