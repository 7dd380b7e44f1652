"""curl with --parallel: it keeps its connections, and asks for no size where the length is of no matter."""

from collections.abc import Sequence

from benchmarks.field import Field, Way
from benchmarks.peers.peer import timed


def copy(field: Field, way: Way, names: Sequence[str]) -> float:
    server = field.server
    secure = [] if server.ca_file is None else ["ssl-reqd", f'cacert = "{server.ca_file}"']
    each = [
        f'user = "{server.user}:{server.password}"',
        "ftp-method = nocwd",
        "ignore-content-length",
        *secure,
    ]
    lines = [
        "parallel",
        "parallel-immediate",
        f"parallel-max = {field.sessions}",
        "no-progress-meter",
        "fail-early",
    ]
    for number, name in enumerate(names):
        # What stands before the first `next` holds for the first address alone.
        lines += ["next"] * (number > 0) + each
        if way == "down":
            lines += [f'url = "{_url(field, "out", name)}"', f'output = "{field.local}/in/{name}"']
        else:
            lines += [f'url = "{_url(field, "in", name)}"', f'upload-file = "{field.local}/out/{name}"']
    config = field.folder / "work" / "curl.config"
    config.write_text("\n".join([*lines, ""]))
    return timed(field, ["curl", "--config", str(config)])


def _url(field: Field, folder: str, name: str) -> str:
    return f"ftp://{field.server.host}:{field.server.port}/{folder}/{name}"
