"""Rehearse a deployment without a cluster: ``python -m tests.rehearsal``.

Pods of the StatefulSet in kube/base run as processes, by its own command, environment, probes and grace
period; Apache Kafka and vsftpd are real. It takes root, as ``nox -s broker`` does. It prints what was done,
the pauses that users saw, and what was found, and ends with 1 where a promise was broken; then all is kept.
"""

import argparse
import faulthandler
import shutil
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import trio

from tests.rehearsal.play import Plan, Stage, play
from tests.rehearsal.releases import NoReleaseError, last_release, this_release
from tests.support.kafka import running_broker
from tests.support.servers import running_server

_BEGAN = time.monotonic()


def main() -> int:
    """Do what the command line says."""
    faulthandler.enable()  # librdkafka is in this process, and C has no tracebacks
    usual = Plan()
    parser = argparse.ArgumentParser(prog="python -m tests.rehearsal", description=__doc__)
    parser.add_argument("--jobs", type=int, default=usual.jobs, help="at least (%(default)s)")
    parser.add_argument(
        "--per-s", type=float, default=usual.per_s, help="jobs a second, at most (%(default)s)"
    )
    parser.add_argument("--settle", type=float, default=usual.settle_s, help="for the rest (%(default)s)")
    parser.add_argument("--seed", type=int, default=usual.seed, help="of the jobs (%(default)s)")
    arguments = parser.parse_args()
    plan = Plan(arguments.jobs, arguments.per_s, arguments.settle, arguments.seed)
    folder = Path(tempfile.mkdtemp(prefix="pooler-rehearsal-"))
    try:
        last, this = last_release(folder / "last"), this_release()
    except NoReleaseError as error:
        _say(str(error))
        return 2
    _say(f"from {last.name} to {this.name}: {plan.jobs} jobs")
    # Nobody kills this broker, and on a busy machine the two seconds of those that are killed are soon over.
    patient = {"broker.session.timeout.ms": "30000"}
    with (
        running_broker(folder / "kafka", options=patient) as broker,
        running_server("vsftpd", folder / "vsftpd") as server,
    ):
        verdict = trio.run(partial(play, Stage(folder, broker.bootstrap, server, _say), last, this, plan))
    for what, figure in verdict.figures.items():
        _say(f"  {what:<50}{figure:>10g}")
    for what in verdict.breaks:
        _say(f"  BROKEN  {what}")
    if verdict.breaks:
        _say(f"all logs are kept in {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


def _say(line: str) -> None:
    print(f"{time.monotonic() - _BEGAN:6.1f}  {line}", flush=True)  # noqa: T201 - a command


if __name__ == "__main__":
    sys.exit(main())
