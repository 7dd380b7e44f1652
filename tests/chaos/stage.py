"""What a run takes place on: three brokers, three FTP servers, a proxy before them all, and its services.

The stage is slow to build and may serve many runs; each run has topics, folders and processes of its own.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.chaos.schedule import Cast
from tests.chaos.services import Service
from tests.chaos.topics import Overseer, Topics
from tests.support.cluster import RunningCluster, running_cluster
from tests.support.cutter import NEAR, Cutter, Route, free_block, running_cutter
from tests.support.servers import Kind, RunningServer, running_server
from tests.support.service import Site

_PASSIVE_PORTS = 120
_PASSIVE: Mapping[Kind, Sequence[str]] = {
    "vsftpd": ("pasv_min_port={0}", "pasv_max_port={1}"),
    "proftpd": ("PassivePorts {0} {1}",),
    "pure-ftpd": ("-p", "{0}:{1}"),
}

# Short enough for a killed member to be missed, and for all of it to happen often, within minutes.
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "kafka": {
        "session_timeout_ms": 6000,
        "heartbeat_interval_ms": 1000,
        "rebalance_timeout_ms": 10_000,
        "commit_interval_ms": 200,
        "max_retries": 1_000,
        "base_backoff_ms": 100,
        "max_backoff_ms": 2_000,
        "retry_delays_seconds": [1, 3],
    },
    "api": {"enabled": False},
    "metrics": {"enabled": False},
    "pool": {"max_sessions_per_connection": 4},
    "transfer": {
        "connect_timeout_seconds": 5,
        "reply_timeout_seconds": 5,
        "stall_timeout_seconds": 5,
        "transfer_timeout_seconds": 60,
        "drain_seconds": 5,
        "sweep_after_seconds": 120,
    },
    # A job is to end by being done, whatever happens; only what is wrong with the job itself may fail it.
    "retry": {"attempts": 10_000, "base_backoff_ms": 50, "max_backoff_ms": 2_000},
    "circuit_breaker": {"timeout_seconds": 1},
}


@dataclass(frozen=True, slots=True)
class Stage:
    """What stands.

    Attributes:
        folder: where everything is, logs included.
        cluster: the brokers.
        servers: FTP servers, by the names of their sections.
        cutter: what their connections go through.
        overseer: who looks after the cluster.
    """

    folder: Path
    cluster: RunningCluster
    servers: Mapping[str, RunningServer]
    cutter: Cutter
    overseer: Overseer

    @property
    def bootstrap(self) -> str:
        """Where those ask who check."""
        return ",".join(self.cluster.direct)

    def cast(self, services: int) -> Cast:
        """Tell whom something can happen to."""
        return Cast(services, len(self.cluster.brokers), len(self.servers), self.cutter.kinds)


@dataclass(frozen=True, slots=True)
class Troupe:
    """The processes of one run, and what they work on.

    Attributes:
        site: their configuration and their local root, which they share.
        topics: their topics.
        services: the processes; not started.
    """

    site: Site
    topics: Topics
    services: Sequence[Service]


@contextlib.contextmanager
def standing_stage(folder: Path, seed: int, *, lives_s: tuple[float, float] | None = None) -> Iterator[Stage]:
    """Build a stage that stands until the block ends.

    Args:
        folder: where everything goes, but for the files of the servers.
        seed: of the lives of connections.
        lives_s: how long each connection lives, from so many to so many seconds; None to let them live.
    """
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(running_cluster(folder / "kafka"))
        routes = list(cluster.routes)
        servers: dict[str, RunningServer] = {}
        for kind, words in _PASSIVE.items():
            block = free_block(_PASSIVE_PORTS, taken={route.port for route in routes})
            extra = [word.format(block.start, block.stop - 1) for word in words]
            server = stack.enter_context(running_server(kind, folder / kind, crowded=True, extra=extra))
            routes += [Route(kind, server.port), *(Route(f"{kind} data", port) for port in block)]
            servers[kind] = server
        log = folder / "cutter.log"
        cutter = stack.enter_context(running_cutter(routes, log, seed=seed, lives_s=lives_s))
        overseer = stack.enter_context(contextlib.closing(Overseer(",".join(cluster.direct))))
        yield Stage(folder, cluster, servers, cutter, overseer)


def gather(stage: Stage, name: str, *, services: int, settings: Mapping[str, Mapping[str, Any]]) -> Troupe:
    """Make topics, configuration and processes for one run.

    Args:
        stage: where.
        name: of the run, which no other run on the stage has.
        services: how many processes.
        settings: sections of config.yaml, over those of every run.
    """
    topics = Topics(name)
    stage.overseer.create(topics)
    merged = {
        section: {**SETTINGS.get(section, {}), **settings.get(section, {})}
        for section in {*SETTINGS, *settings}
    }
    merged["kafka"] |= {"bootstrap_servers": list(stage.cluster.near), **topics.settings}
    near = {name: dataclasses.replace(server, host=NEAR) for name, server in stage.servers.items()}
    site = Site(stage.folder / name, stage.bootstrap, near, merged)
    processes = [
        Service(
            number=number,
            log=site.folder / f"pooler-{number}.log",
            command=site.command("run"),
            environment={},
            folder=site.folder,
        )
        for number in range(services)
    ]
    return Troupe(site, topics, processes)
