"""``pooler config``: what the configuration says, what is wrong with it, and what it may say."""

import json
import sys
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from pooler.cli import exits
from pooler.cli.options import HERE, Files
from pooler.cli.text import plain
from pooler.config import reference as pages
from pooler.config.described import described
from pooler.errors import ConfigError

app = App(name="config")


@app.command
def check(
    *,
    output: Annotated[Literal["table", "json"], Parameter(name=["--output", "-o"])] = "table",
    files: Files = HERE,
) -> int:
    """Read both files and the environment, and say all that is wrong, one line each.

    Exits with 0 where nothing is wrong, else with 7.

    Args:
        output: ``json`` for one object.
        files: where the configuration stands.
    """
    if output == "json":
        return _check_json(files)
    configuration = files.load()
    for warning in configuration.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    remotes = len(configuration.connections.remotes)
    folders = len(configuration.connections.folders)
    print(f"ok: {_counted(remotes, 'remote')}, {_counted(folders, 'local folder')}")
    return exits.OK


def _check_json(files: Files) -> int:
    found: dict[str, Any] = {"ok": True, "mistakes": [], "warnings": [], "remotes": [], "folders": []}
    try:
        configuration = files.load()
    except ConfigError as error:
        found |= {"ok": False, "mistakes": str(error).splitlines()}
    else:
        found["warnings"] = list(configuration.warnings)
        found["remotes"] = [remote.name for remote in configuration.connections.remotes]
        found["folders"] = [folder.name for folder in configuration.connections.folders]
    print(json.dumps(found, indent=2))
    return exits.OK if found["ok"] else exits.FATAL


@app.command
def dump(
    *,
    output: Annotated[Literal["yaml", "json"], Parameter(name=["--output", "-o"])] = "yaml",
    files: Files = HERE,
) -> None:
    """Show what holds: each key with its value and where that comes from; secrets are masked.

    The settings are YAML that can be read again, but for secrets. Remotes are shown with what is not left
    to its default.

    Args:
        output: ``json`` for one object.
        files: where the configuration stands.
    """
    configuration = files.load()
    made = described(configuration)
    print(json.dumps(made, indent=2) if output == "json" else "\n".join(_as_yaml(made)))


@app.command
def schema() -> None:
    """Print the JSON Schema (2020-12) of config.yaml, for editors."""
    print(json.dumps(pages.schema(), indent=2))


@app.command
def reference() -> None:
    """Print the reference of config.yaml, as Markdown: docs/settings.md."""
    print(pages.reference(), end="")


def _as_yaml(made: dict[str, Any]) -> list[str]:
    # JSON's values are YAML's too.
    lines = []
    for section, keys in made["settings"].items():
        lines.append(f"{section}:")
        lines += [f"  {key}: {json.dumps(one['value'])}  # {one['from']}" for key, one in keys.items()]
    for name, keys in made["remotes"].items():
        lines.append(f"# [{name}]")
        lines += [f"# {key} = {value}" for key, value in keys.items()]
    lines += [f"# [{name}] {path}" for name, path in made["folders"].items()]
    return [plain(line, sys.stdout.encoding) for line in lines]


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
