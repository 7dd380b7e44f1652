"""Does the speed stay as the work grows? Each small case and its large one in turn, in one run.

    python -m benchmarks.flat [waiting] [folder] [remotes] [--turns 3]

waiting: the service, with 20,000 jobs in the topic and with 1,000,000; counted from the 500th to the 2,500th.
folder: `pooler copy`, from a folder with 2,000 files into an empty one, and with 100,000 files on both sides.
remotes: `pooler copy` to one remote with 100 sessions, and to 200 remotes with one each, 100 at a time.
Needs root, a broker and vsftpd (``python -m tests.support.install broker servers``). Files have 1,000 bytes.
"""

import argparse
import contextlib
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks import table
from benchmarks.backlog import fill
from benchmarks.peers import ours
from tests.support.kafka import create_topics, running_broker
from tests.support.servers import RunningServer, running_server
from tests.support.service import TOPICS, Site

_SMALL, _LARGE = "small", "large"
_QUIET = ("log_ftp_protocol=NO", "xferlog_enable=NO")
_BYTES = 1000
_JOBS = 2000
_JOBS_OF_MANY = 20_000
"""A hundred for each of the remotes, so that logins are not what is measured."""
_REMOTES, _SESSIONS = 200, 100
_BEGINS_AT, _ENDS_AT = 500, 2500
_PAUSE_S = 0.1
Turn = Callable[[str], float]


@contextlib.contextmanager
def waiting(folder: Path, server: RunningServer) -> Iterator[Turn]:
    """Have two topics with jobs; a turn takes up where the one before it in that topic ended."""
    with running_broker(folder / "kafka") as broker:
        server.put("/there", bytes(_BYTES))
        sites: dict[str, Site] = {}
        for size, count in ((_SMALL, 20_000), (_LARGE, 1_000_000)):
            settings = ours.settings(8, "never") | {"kafka": {"input_topic": f"jobs-{size}"}}
            sites[size] = Site(folder / size, broker.bootstrap, {"far": server}, settings)
            create_topics(broker.bootstrap, {f"jobs-{size}": TOPICS["ftp-tasks"]})
            fill(broker.bootstrap, count, topic=f"jobs-{size}")
        create_topics(broker.bootstrap, {name: TOPICS[name] for name in TOPICS if name != "ftp-tasks"})

        def turn(size: str) -> float:
            with sites[size].running() as running:
                marks: list[tuple[float, int]] = []
                while not marks or marks[-1][1] < _ENDS_AT:
                    done = int(running.get("/v1/status")["succeeded"])
                    if done >= _BEGINS_AT:
                        marks.append((time.monotonic(), done))
                    time.sleep(_PAUSE_S)
                running.signal(signal.SIGTERM)
                assert running.wait() == 0
            return (marks[-1][1] - marks[0][1]) / (marks[-1][0] - marks[0][0])

        yield turn


@contextlib.contextmanager
def one_folder(folder: Path, server: RunningServer) -> Iterator[Turn]:
    """Have a folder with few files and one with many, here and there."""
    for size, count in ((_SMALL, _JOBS), (_LARGE, 100_000)):
        (folder / "local" / size).mkdir(parents=True)
        for number in range(count):
            server.put(f"/{size}/{number:06}", bytes(_BYTES))
            if size == _LARGE:
                (folder / "local" / size / f"other-{number:06}").touch()

    def turn(size: str) -> float:
        paths = [f"/{size}/{number:06}" for number in range(_JOBS)]
        for path in paths:
            (folder / "local" / path.lstrip("/")).unlink(missing_ok=True)
        return _copied_a_second(folder, server, [("far", path) for path in paths], {"far": 8}, 8)

    yield turn


@contextlib.contextmanager
def many_remotes(folder: Path, server: RunningServer) -> Iterator[Turn]:
    """Have one remote with 100 sessions, or 200 of which each may have one, 100 in all."""
    (folder / "local").mkdir(parents=True)
    for number in range(_JOBS_OF_MANY):
        server.put(f"/out/{number:06}", bytes(_BYTES))

    def turn(size: str) -> float:
        shutil.rmtree(folder / "local" / "out", ignore_errors=True)
        count = _REMOTES if size == _LARGE else 1
        sessions = {f"far{number}": _SESSIONS // count or 1 for number in range(count)}
        sources = [(f"far{number % count}", f"/out/{number:06}") for number in range(_JOBS_OF_MANY)]
        return _copied_a_second(folder, server, sources, sessions, _SESSIONS)

    yield turn


def _copied_a_second(
    folder: Path,
    server: RunningServer,
    sources: Sequence[tuple[str, str]],
    sessions: Mapping[str, int],
    in_all: int,
) -> float:
    """Have `pooler copy` fetch files; tell how many a second, from its first answer on."""
    settings = ours.settings(in_all, "never")
    settings["pool"] |= {"max_sessions_per_pod": in_all}
    (folder / "config.yaml").write_text(json.dumps(settings))
    sections = [f"[local]\ntype = local\nbase_path = {folder / 'local'}\n"]
    sections += [
        f"[{name}]\ntype = ftp\nhost = {server.host}\nport = {server.port}\nuser = {server.user}\n"
        f"pass = {server.password}\nmax_sessions = {most}\n"
        for name, most in sessions.items()
    ]
    (folder / "connections.ini").write_text("".join(sections))
    (folder / "connections.ini").chmod(0o600)
    jobs = [{"src_id": name, "src_path": path, "dst_id": "local", "dst_path": path} for name, path in sources]
    (folder / "jobs.jsonl").write_text("\n".join(map(json.dumps, jobs)))
    words = [sys.executable, "-m", "pooler", "copy", str(folder / "jobs.jsonl")]
    words += ["--config", str(folder / "config.yaml"), "--connections", str(folder / "connections.ini")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        began = None
        for line in process.stdout:
            began = began or time.monotonic()
            assert json.loads(line)["status"] == "success", line
        ended = time.monotonic()
    assert process.returncode == 0
    assert began is not None
    return (len(sources) - 1) / (ended - began)


CASES: Mapping[str, Callable[[Path, RunningServer], contextlib.AbstractContextManager[Turn]]] = {
    "waiting": waiting,
    "folder": one_folder,
    "remotes": many_remotes,
}


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "cases", nargs="*", metavar="case", help=f"of {', '.join(CASES)}; all of them if none"
    )
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    # So that what was started is taken down by a SIGTERM too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    print("| files/s | small | large | ratio |\n|---|---:|---:|---:|", flush=True)
    for name in options.cases or CASES:
        rates: dict[str, list[float]] = {_SMALL: [], _LARGE: []}
        with tempfile.TemporaryDirectory(prefix="flat-") as place:
            folder = Path(place)
            folder.chmod(0o755)  # the server's user must get in
            with (
                running_server("vsftpd", folder / "far", extra=_QUIET) as server,
                CASES[name](folder / "near", server) as turn,
            ):
                for number in range(options.turns):
                    for size in (_SMALL, _LARGE) if number % 2 == 0 else (_LARGE, _SMALL):
                        rates[size].append(turn(size))
        medians, ratio = table.medians(rates), table.ratios(rates, _SMALL)[_LARGE]
        print(f"| {name} | {medians[_SMALL]:.1f} | {medians[_LARGE]:.1f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
