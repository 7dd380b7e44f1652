"""Reads config.yaml, connections.ini and the environment into one `Configuration`, or says all that is wrong.

`pooler.config.settings` says what config.yaml may hold, `pooler.config.sections` what connections.ini may.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from pooler.config import sections, yamlfile
from pooler.config.explain import explain
from pooler.config.ftp_section import Format
from pooler.config.problems import Place, Problems
from pooler.config.remotes import Connections
from pooler.config.section import Section
from pooler.config.settings import Settings
from pooler.config.yamlfile import Document, Loc, dotted

CONFIG = Path("etc/config.yaml")
CONNECTIONS = Path("etc/connections.ini")
_CONFIG_VARIABLES = ("POOLER_CONFIG", "FTP_POOLER_CONFIG")
_CONNECTIONS_VARIABLES = ("POOLER_CONNECTIONS", "FTP_POOLER_CONNECTIONS")
_PREFIX = "POOLER__"
_RCLONE_FILE = "rclone.conf"
_KEY = 2
"""How long the path of a key is: its section and itself."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """What the operator wrote, read and checked.

    Attributes:
        settings: config.yaml, with the environment over it.
        connections: connections.ini.
        config_file: what was read; None where there was none, and defaults hold.
        connections_file: what was read; None where there was none.
        warnings: what works, but not as it was written; one line each, with file, line and key.
        origins: where each key stands that is not left to its default, by section and key.
        environ: the environment that it was read with, and is to be read with again.
    """

    settings: Settings
    connections: Connections
    config_file: Path | None = None
    connections_file: Path | None = None
    warnings: tuple[str, ...] = ()
    origins: Mapping[tuple[str, str], str] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)


def load(
    config_path: Path | None, connections_path: Path | None, environ: Mapping[str, str]
) -> Configuration:
    """Read and check the whole configuration.

    Args:
        config_path: config.yaml; None for what ``POOLER_CONFIG`` says, else etc/config.yaml where it exists.
        connections_path: connections.ini; None for what ``POOLER_CONNECTIONS`` says, else
            etc/connections.ini where it exists.
        environ: the environment.

    Returns:
        The configuration, without a mistake.

    Raises:
        ConfigError: with every mistake of both files and of the environment, one line each.
    """
    problems = Problems()
    config_file = _choose(config_path, _CONFIG_VARIABLES, CONFIG, environ)
    connections_file = _choose(connections_path, _CONNECTIONS_VARIABLES, CONNECTIONS, environ)

    document = Document()
    if config_file is not None and (text := _read(config_file, problems)) is not None:
        document = yamlfile.parse(text, str(config_file), environ, problems)
    _override(document, environ, problems)
    settings = _check(document, str(config_file or "configuration"), problems)

    connections = Connections()
    if connections_file is not None and (text := _read(connections_file, problems)) is not None:
        connections = sections.read(
            text,
            str(connections_file),
            environ,
            problems,
            file_format=_file_format(settings, document, connections_file),
            local_root=_local_root(settings, document),
        )
    problems.raise_any()
    return Configuration(
        settings or Settings(),
        connections,
        config_file,
        connections_file,
        problems.warnings,
        {
            (str(loc[0]), str(loc[1])): str(place)
            for loc, place in document.places.items()
            if len(loc) == _KEY
        },
        dict(environ),
    )


def _choose(
    given: Path | None, variables: tuple[str, ...], default: Path, environ: Mapping[str, str]
) -> Path | None:
    if given is not None:
        return given
    for variable in variables:
        if environ.get(variable):
            return Path(environ[variable])
    return default if default.exists() else None


def _read(path: Path, problems: Problems) -> str | None:
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        problems.add(Place(str(path)), f"cannot be read: {getattr(error, 'strerror', None) or error}")
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
        problems.add(Place(str(path), line, column), "not UTF-8")
        return None


def _override(document: Document, environ: Mapping[str, str], problems: Problems) -> None:
    """Lay ``POOLER__SECTION__KEY`` over what the file says; each stands where its variable does."""
    for variable in sorted(name for name in environ if name.startswith(_PREFIX)):
        place = Place(variable)
        section, _, key = variable.removeprefix(_PREFIX).lower().partition("__")
        if not section or not key:
            problems.add(place, "expected POOLER__SECTION__KEY")
            continue
        inside = document.values.get(section)
        if inside is None:
            inside = document.values[section] = {}
            document.keys.setdefault((section,), place)
        if not isinstance(inside, dict):  # a mistake of the file's, which is told as such
            continue
        inside[key] = environ[variable]
        document.keys[section, key] = document.places[section, key] = place


def _check(document: Document, file: str, problems: Problems) -> Settings | None:
    try:
        settings = Settings.model_validate(document.values)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            loc = tuple(detail["loc"])
            known = document.keys if detail["type"] == "extra_forbidden" else document.places
            problems.add(_place(loc, known, document, file), f"{dotted(loc)}: {explain(detail, Settings)}")
        return None
    for name in type(settings).model_fields:
        section: Section = getattr(settings, name)
        for key, text in section.doubts():
            place = _place((name, key), document.places, document, file)
            problems.warn(place, f"{name}.{key}: {text}")
    return settings


def _place(loc: Loc, known: dict[Loc, Place], document: Document, file: str) -> Place:
    """Find where a mistake stands; one in a default stands at its section, for want of a better place."""
    for length in range(len(loc), 0, -1):
        part = loc[:length]
        place = known.get(part) if length == len(loc) else document.keys.get(part)
        if place is not None:
            return place
    return Place(file)


def _file_format(settings: Settings | None, document: Document, connections_file: Path) -> Format:
    """Say whose format connections.ini has, even where settings are mistakes: one look finds them all."""
    section = document.values.get("connections")
    written = section.get("format") if isinstance(section, dict) else None
    asked = settings.connections.format if settings is not None else written
    if asked in {"plain", "rclone"}:
        return "plain" if asked == "plain" else "rclone"
    return "rclone" if connections_file.name == _RCLONE_FILE else "plain"


def _local_root(settings: Settings | None, document: Document) -> Path | None:
    """Say where ``local`` sections stand, even where other settings are mistakes."""
    if settings is not None:
        return settings.transfer.local_root
    section = document.values.get("transfer")
    written = section.get("local_root") if isinstance(section, dict) else None
    return Path(str(written)) if written else None
