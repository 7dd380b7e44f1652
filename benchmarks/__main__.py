"""Peers and ours at the same work, in turn, in one run: ``python -m benchmarks [case...] [--quick]``.

Each turn has every peer once, in an order that is turned round from turn to turn, and begins with nothing
at the destination. What a peer has copied is looked at before its figure counts. Read the ratios: no two
machines have the same figures.

The figures are apart from the start of each program, which a run of one file a session tells (of ours and
of the bare loop; the others start at once), and beside them stands what it is with the start. The processor's
time of the program, taken in the same way, is what other work on the machine moves least; it has nothing of
the server's in it, and of the service its start.

Needs root, and `python -m tests.support.install servers broker peers`.
"""

import argparse
import contextlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import floor, machine, table
from benchmarks.cases import CASES, Case
from benchmarks.field import WAYS, Field, Way, WrongCopyError
from benchmarks.link import link
from benchmarks.peers.peer import Peer
from benchmarks.peers.registry import BARE, EVERYBODY, PEERS
from tests.support.servers import running_server

_COMPARED = ("lftp", *BARE)
_START_AT_MOST = 0.9  # of all that a program took
# Its words for a log that nobody reads would cost every peer time.
_QUIET = ("log_ftp_protocol=NO", "xferlog_enable=NO")


class Measured(NamedTuple):
    """What was measured of each peer, turn by turn.

    Attributes:
        steady: files a second, apart from the start of its program.
        whole: files a second, with it.
        cpu_ms: milliseconds of the processor's that its program took for a file, apart from its start.
    """

    steady: dict[str, list[float]]
    whole: dict[str, list[float]]
    cpu_ms: dict[str, list[float]]


def measure(field: Field, way: Way, peers: Sequence[Peer], turns: int) -> Measured:
    """Have all copy in turn.

    Who once copied wrongly is out, with no figure at all.
    """
    names = [peer.name for peer in peers]
    found = Measured({name: [] for name in names}, {name: [] for name in names}, {name: [] for name in names})
    out: set[str] = set()
    for turn in range(turns):
        for peer in peers if turn % 2 == 0 else reversed(peers):
            if peer.name in out:
                continue
            try:
                figures = _turn(field, way, peer)
            except WrongCopyError as error:
                out.add(peer.name)
                for of in found:
                    of[peer.name].clear()
                print(f"{peer.name} is refused: {error}", file=sys.stderr, flush=True)
                continue
            for of, figure in zip(found, figures, strict=True):
                of[peer.name].append(figure)
            told = "{:.1f}, with its start {:.1f}, {:.2f} ms of CPU a file".format(*figures)
            print(f"turn {turn + 1}, {way}: {peer.name} {told}", file=sys.stderr, flush=True)
    return found


def _turn(field: Field, way: Way, peer: Peer) -> tuple[float, float, float]:
    names = peer.part(field.names)
    few = names[: field.sessions] if peer.starts_slowly else []
    start_s, start_cpu_s = _seconds(field, way, peer, few) if few else (0.0, 0.0)
    seconds, cpu_s = _seconds(field, way, peer, names)
    count, whole = len(names) - len(few), len(names) / seconds
    # On a busy machine a start may take as long as all of it: then nothing is known but the whole.
    apart = count / (seconds - start_s) if start_s < _START_AT_MOST * seconds else whole
    return apart, whole, 1000 * (cpu_s - start_cpu_s) / count


def _seconds(field: Field, way: Way, peer: Peer, names: Sequence[str]) -> tuple[float, float]:
    """Have a peer copy; tell how long it took, and how much of the processor its programs did."""
    field.clear()
    before = os.times()
    seconds = peer.copy(field, way, names)
    after = os.times()
    field.check(way, names)
    return seconds, sum(after[2:4]) - sum(before[2:4])  # of children that have ended


def run(case: Case, options: argparse.Namespace) -> dict[str, Any]:
    """Measure a case, and print its tables as soon as there are any."""
    peers = [PEERS[name] for name in options.peers or case.peers if case.tls is None or PEERS[name].tls]
    count = options.files or case.files[1 if options.quick else 0]
    found: dict[str, Any] = {"files": count, "sessions": options.sessions, "turns": options.turns}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        folder.chmod(0o755)  # the server's user must get in
        near = stack.enter_context(link(case.round_trip_s, case.mtu)) if case.round_trip_s else None
        server = stack.enter_context(
            running_server(
                "vsftpd",
                folder / "vsftpd",
                tls=case.tls is not None,
                tls_version=case.tls,
                host=near.here if near else "127.0.0.1",
                extra=_QUIET,
            )
        )
        field = Field(
            folder / "field",
            server,
            sizes=case.sizes,
            count=count,
            sessions=options.sessions,
            near=near,
            stack=stack,
        )
        for way in options.ways:
            measured = measure(field, way, peers, options.turns)
            found[way] = table.as_json(*measured, _COMPARED)
            print(
                f"\n### {case.title}, {way}, {count} files\n\n{table.markdown(*measured, _COMPARED)}",
                flush=True,
            )
            if case.round_trip_s:
                found[way]["floor"] = floors(case, field, way)
                print("\nThe floor: " + "; ".join(f"{k} {v:.1f}" for k, v in found[way]["floor"].items()))
    return found


def floors(case: Case, field: Field, way: Way) -> dict[str, float]:
    """Tell how many files a second the link allows."""

    def rate(*, safe: bool) -> float:
        return floor.files_per_s(
            field.sizes.values(), case.mtu, way, case.round_trip_s, field.sessions, safe=safe
        )

    if way == "down":
        return {"files/s": rate(safe=False)}
    return {"files/s": rate(safe=False), "files/s with a size check and a rename": rate(safe=True)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "cases", nargs="*", metavar="case", help=f"of {', '.join(CASES)}; all of them if none"
    )
    parser.add_argument("--quick", action="store_true", help="fewer files, and three turns")
    parser.add_argument("--files", type=int, help="as many files in place of the case's own")
    parser.add_argument("--sessions", type=int, default=8)
    parser.add_argument("--turns", type=int, help="5, or 3 with --quick")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--peers", nargs="+", choices=EVERYBODY, help="in place of the case's own")
    parser.add_argument("--json", type=Path, help="where the figures go too")
    options = parser.parse_args()
    options.turns = options.turns or (3 if options.quick else 5)
    unknown = set(options.cases) - set(CASES)
    if unknown:
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    # So that the link and the server are taken down by a SIGTERM too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    about = machine.describe()
    print(
        f"{machine.sentence(about)}; {options.sessions} sessions, medians of {options.turns} turns",
        flush=True,
    )
    found: dict[str, Any] = {"machine": about, "cases": {}}
    for name in options.cases or CASES:
        found["cases"][name] = run(CASES[name], options)
        if options.json:
            options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
