"""`pooler copy`, and the whole service with a Kafka, every safety on.

Both have as many sessions as the others, from the first moment on, and no bound on data connections a second.
A flush is what the others do not do, so each is there without and with it.
"""

import datetime as dt
import itertools
import json
import signal
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.field import Field, Way, WrongCopyError
from benchmarks.peers.peer import Copy, timed
from tests.support.kafka import create_topics, produce
from tests.support.service import TOPICS, Site, wait_until

_WITHIN_S = 600.0
_places = itertools.count()


def settings(sessions: int, flush: str) -> dict[str, dict[str, Any]]:
    """Write what config.yaml needs for a fair comparison."""
    return {
        "transfer": {"flush": flush},
        "pool": {
            "adaptive_sessions": False,
            "max_sessions_per_connection": sessions,
            "prewarm_sessions_per_connection": sessions,
            "data_connections_per_second": 100_000,
            "connects_per_minute": 100_000,
        },
    }


def jobs(way: Way, names: Iterable[str]) -> list[bytes]:
    """Write a job for each file."""
    source, destination = ("far", "local") if way == "down" else ("local", "far")
    return [
        json.dumps(
            {
                "task_id": name,
                "src_id": source,
                "src_path": f"/out/{name}",
                "dst_id": destination,
                "dst_path": f"/in/{name}",
            }
        ).encode()
        for name in names
    ]


def pooler_copy(flush: str) -> Copy:
    """Make a peer that is `pooler copy`, with its start and its end."""

    def copy(field: Field, way: Way, names: Sequence[str]) -> float:
        server, work = field.server, field.folder / "work"
        (work / "config.yaml").write_text(json.dumps(settings(field.sessions, flush)))
        section = f"[far]\ntype = ftp\nhost = {server.host}\nport = {server.port}\nuser = {server.user}\n"
        section += f"pass = {server.password}\n"
        if server.ca_file is not None:
            section += f"explicit_tls = true\nca_file = {server.ca_file}\n"
        section += f"[local]\ntype = local\nbase_path = {field.local}\n"
        (work / "connections.ini").write_text(section)
        (work / "connections.ini").chmod(0o600)
        (work / "jobs.jsonl").write_bytes(b"\n".join(jobs(way, names)))
        words = [sys.executable, "-m", "pooler", "copy", str(work / "jobs.jsonl")]
        words += ["--config", str(work / "config.yaml"), "--connections", str(work / "connections.ini")]
        return timed(field, words)

    return copy


def service(flush: str) -> Copy:
    """Make a peer that is the service: jobs wait in the topic, and the answers are read from theirs.

    The seconds run from when it is first seen to have done jobs to the time of its last answer. Not from the
    first answer: a broker that is slow to begin a transaction gets the answers of many seconds at once.
    """

    def copy(field: Field, way: Way, names: Sequence[str]) -> float:
        # Each turn has topics and a group of its own, on the one broker.
        tag = f"turn{next(_places)}"
        topics = {f"{topic}-{tag}": count for topic, count in TOPICS.items()}
        create_topics(field.broker.bootstrap, topics)
        site = _site(field, tag, dict(zip(TOPICS, topics, strict=True)), flush)
        produce(field.broker.bootstrap, f"ftp-tasks-{tag}", jobs(way, names))
        seen: list[tuple[float, int]] = []

        def look() -> bool:
            done = _answered(running.get("/v1/status"))
            if done and not seen:
                seen.append((time.time(), done))
            return done >= len(names)

        with site.running() as running:
            wait_until(look, "all jobs", _WITHIN_S)
            running.signal(signal.SIGTERM)
            if running.wait() != 0:
                raise WrongCopyError(f"the service ended with {running.wait()}")
        [(began, done)] = seen
        if done == len(names):
            raise WrongCopyError("it had done all when it was first looked at: too few files")
        ended = _times(site, f"ftp-results-{tag}", len(names))[-1].timestamp()
        return (ended - began) * len(names) / (len(names) - done)

    return copy


def _answered(status: Mapping[str, Any]) -> int:
    return int(status["succeeded"]) + int(status["failed"])


def _site(field: Field, tag: str, topics: Mapping[str, str], flush: str) -> Site:
    keys = {"ftp-tasks": "input_topic", "ftp-results": "result_topic"}
    keys |= {"ftp-failures": "fail_topic", "ftp-tasks-dlq": "dlq_topic"}
    kafka = {keys[plain]: topic for plain, topic in topics.items()} | {"commit_interval_ms": 500}
    folder = field.folder / tag
    site = Site(
        folder,
        field.broker.bootstrap,
        {"far": field.server},
        {"kafka": kafka, **settings(field.sessions, flush)},
    )
    # Its local folder is the one of the field.
    ini = folder / "connections.ini"
    ini.write_text(ini.read_text().replace(f"base_path = {site.local}", f"base_path = {field.local}"))
    return site


def span_s(site: Site, topic: str, count: int) -> float:
    """Count the answers on a topic, and tell how long it was from the first to the last.

    Raises:
        WrongCopyError: there are not as many as there should be, or not all tell of a success.
    """
    times = _times(site, topic, count)
    return (times[-1] - times[0]).total_seconds() * count / max(1, count - 1)


def _times(site: Site, topic: str, count: int) -> list[dt.datetime]:
    """Count the answers on a topic, and tell their times, the first one first.

    Raises:
        WrongCopyError: there are not as many as there should be, or not all tell of a success.
    """
    answers = [json.loads(message.value or b"{}") for message in site.messages(topic)]
    good = [answer for answer in answers if answer.get("status") == "success"]
    if len(answers) != count or len(good) != count:
        raise WrongCopyError(f"{len(good)} successes in {len(answers)} answers to {count} jobs")
    return sorted(dt.datetime.fromisoformat(answer["timestamp"]) for answer in good)
