"""Kill, freeze, cut and slow everything, and see that no job is lost: ``python -m tests.chaos --seed N``.

It takes Kafka, vsftpd, proftpd, pure-ftpd and root, as ``nox -s broker`` and ``nox -s servers`` do. It prints
what it did and found, and ends with 1 where a promise was broken; then the logs of everybody are kept.
"""

import argparse
import faulthandler
import secrets
import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path

import trio

from tests.chaos.awaits import standing_lives
from tests.chaos.run import Plan, run
from tests.chaos.stage import standing_stage
from tests.chaos.verdict import Verdict

_LIVES_S = (0.5, 1.5)
_BRIEF_JOBS = 20
_BRIEF_S = 5.0


def main() -> int:
    """Do what the command line says."""
    faulthandler.enable()  # librdkafka is in this process, and C has no tracebacks
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, help="of all that is drawn; a new one by default")
    parser.add_argument("--minutes", type=float, default=2.5, help="of chaos (%(default)s)")
    parser.add_argument("--jobs", type=int, default=3000, help="that come in meanwhile (%(default)s)")
    parser.add_argument("--services", type=int, default=4, help="processes of the service (%(default)s)")
    parser.add_argument("--largest-kib", type=int, default=300, help="the largest file (%(default)s)")
    parser.add_argument("--settle-minutes", type=float, default=5.0, help="for the rest (%(default)s)")
    parser.add_argument("--delivery", choices=["exactly_once", "at_least_once"], default="exactly_once")
    parser.add_argument("--leftovers", type=int, default=0, help="temporary files allowed (%(default)s)")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument(
        "--brief-lives", type=int, metavar="RUNS", default=0,
        help=f"instead: so many runs of {_BRIEF_JOBS} jobs, each connection living for 0.5 to 1.5 s",
    )  # fmt: skip
    instead.add_argument(
        "--awaits", action="store_true", help="instead: a process killed at each await of the publish path"
    )
    arguments = parser.parse_args()
    seed = secrets.randbelow(2**32) if arguments.seed is None else arguments.seed
    _say(f"seed {seed}")
    folder = Path(tempfile.mkdtemp(prefix="pooler-chaos-"))
    does = _awaits if arguments.awaits else _brief_lives if arguments.brief_lives else _chaos
    if does(arguments, seed, folder):
        shutil.rmtree(folder)
        return 0
    _say(f"seed {seed}; logs are kept in {folder}")
    return 1


def _chaos(arguments: argparse.Namespace, seed: int, folder: Path) -> bool:
    plan = Plan(
        name="run",
        seed=seed,
        jobs=arguments.jobs,
        services=arguments.services,
        seconds=arguments.minutes * 60,
        settle_s=arguments.settle_minutes * 60,
        largest_bytes=arguments.largest_kib * 1024,
        exactly_once=arguments.delivery == "exactly_once",
        leftovers=arguments.leftovers,
    )
    with standing_stage(folder, seed) as stage:
        return _told(plan.name, trio.run(partial(run, stage, plan)))


def _brief_lives(arguments: argparse.Namespace, seed: int, folder: Path) -> bool:
    with standing_stage(folder, seed, lives_s=_LIVES_S) as stage:
        for number in range(arguments.brief_lives):
            plan = Plan(
                name=f"run-{number}",
                seed=seed + number,
                jobs=_BRIEF_JOBS,
                services=arguments.services,
                seconds=_BRIEF_S,
                acts=False,
                doubles=1,  # of so few jobs any would be more than a hundredth
                settle_s=arguments.settle_minutes * 60,
                exactly_once=arguments.delivery == "exactly_once",
                leftovers=arguments.leftovers,
            )
            if not _told(plan.name, trio.run(partial(run, stage, plan))):
                return False
    return True


def _awaits(arguments: argparse.Namespace, seed: int, folder: Path) -> bool:
    with standing_lives(folder, seed, exactly_once=arguments.delivery == "exactly_once") as lives:
        died = 0
        for life in lives.each():
            died += life.died
            for what in life.verdict.breaks:
                _say(f"  BROKEN  {life.moment}: {what}")
        _say(f"{len(lives.moments())} moments, {died} deaths")
        return _told("all lives", lives.judge())


def _told(name: str, verdict: Verdict) -> bool:
    """Print a verdict; tell whether all promises were kept."""
    _say(f"{name}:")
    for what, figure in verdict.figures.items():
        _say(f"  {what:<40}{figure:>10g}")
    for what in verdict.breaks:
        _say(f"  BROKEN  {what}")
    return not verdict.breaks


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - a command


if __name__ == "__main__":
    sys.exit(main())
