"""``pooler config``: what the configuration says, and what is wrong with it."""

import sys

from cyclopts import App

from pooler.cli.options import HERE, Files

app = App(name="config")


@app.command
def check(*, files: Files = HERE) -> None:
    """Read both files and the environment, and say all that is wrong, one line each.

    Exits with 0 where nothing is wrong, else with 7.
    """
    configuration = files.load()
    for warning in configuration.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    remotes = len(configuration.connections.remotes)
    folders = len(configuration.connections.folders)
    print(f"ok: {_counted(remotes, 'remote')}, {_counted(folders, 'local folder')}")


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
