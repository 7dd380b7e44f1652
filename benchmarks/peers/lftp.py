"""lftp: a mirror with many transfers at once, or a queue of single files, which are about as quick."""

from collections.abc import Sequence

from benchmarks.field import Field, Way
from benchmarks.peers.peer import timed


def mirror(field: Field, way: Way, _names: Sequence[str]) -> float:
    """Copy the whole folder. Nothing is asked about single files, and no mode is changed."""
    ends = f"/out {field.local}/in" if way == "down" else f"-R {field.local}/out /in"
    options = f"--parallel={field.sessions} --no-perms --no-umask --no-symlinks"
    return _run(field, [f"mirror {options} {ends}"])


def queue(field: Field, way: Way, names: Sequence[str]) -> float:
    """Copy file by file."""
    lines = [f"set cmd:queue-parallel {field.sessions}", "queue stop"]
    for name in names:
        if way == "down":
            lines.append(f"queue get /out/{name} -o {field.local}/in/{name}")
        else:
            lines.append(f"queue put {field.local}/out/{name} -o /in/{name}")
    return _run(field, [*lines, "queue start", "wait all"])


def _run(field: Field, lines: Sequence[str]) -> float:
    server = field.server
    secure = server.ca_file is not None
    script = field.folder / "work" / "lftp.script"
    head = [
        "set cmd:fail-exit yes",
        "set xfer:clobber on",
        "set net:max-retries 2",
        f"set net:connection-limit {field.sessions}",
        f"set ftp:ssl-allow {'yes' if secure else 'no'}",
        *(["set ftp:ssl-force yes", f"set ssl:ca-file {server.ca_file}"] if secure else []),
        f"open -u {server.user},{server.password} -p {server.port} {server.host}",
    ]
    script.write_text("\n".join([*head, *lines, "exit", ""]))
    return timed(field, ["lftp", "-f", str(script)])
