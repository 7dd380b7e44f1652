from collections import Counter
from pathlib import Path

from pooler.bus import records
from pooler.config.remotes import Connections, FtpRemote, LocalFolder
from pooler.demo.jobs import DemoJob, in_words, plan_jobs
from pooler.model.job import Direction, Job, Origin, Record
from pooler.transfer.plan import plan

LOCAL = Path("/demo/local")
REMOTES = {"site-a": Path("/demo/site-a"), "site-b": Path("/demo/site-b")}
CONNECTIONS = Connections(
    *(FtpRemote(name, "127.0.0.1", "demo", lambda: "") for name in REMOTES), LocalFolder("local", LOCAL)
)


def decoded(job: DemoJob) -> Job:
    found = records.decode(Record(Origin("ftp-tasks", 0, 0), None, job.record))
    assert isinstance(found, Job)
    return found


def test_each_record_asks_for_what_is_planned() -> None:
    for job in plan_jobs(20, LOCAL, REMOTES):
        found = plan(decoded(job), CONNECTIONS)
        local = LOCAL.joinpath(*found.local_parts)
        remote = REMOTES[found.remote] / found.remote_path[1:]
        upload = found.direction is Direction.UPLOAD
        assert (found.remote, found.direction) == (job.remote, job.direction)
        assert (job.source, job.destination) == ((local, remote) if upload else (remote, local))


def test_kinds_are_dealt_out_evenly() -> None:
    jobs = plan_jobs(800, LOCAL, REMOTES)
    kinds = Counter((job.remote, job.direction, decoded(job).operation is None) for job in jobs)
    assert len(kinds) == 8
    assert set(kinds.values()) == {100}


def test_nothing_is_named_twice() -> None:
    jobs = plan_jobs(1000, LOCAL, REMOTES)
    assert len({job.task_id for job in jobs}) == 1000
    assert len({path for job in jobs for path in (job.source, job.destination)}) == 2000


def test_words_say_how_many() -> None:
    assert in_words(plan_jobs(5, LOCAL, REMOTES)) == "3 uploads and 2 downloads"
