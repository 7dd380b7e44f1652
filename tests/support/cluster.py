"""Three brokers as one cluster, any one of which may be down: KRaft, each broker and controller at once.

``with running_cluster(tmp_path) as cluster:`` gives one in which every topic has three copies, of which two
must have what is acknowledged. Clients under test go to `near`, by way of a `Cutter`; whoever checks them
goes straight to `direct`.
"""

import contextlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.support.cutter import NEAR, Route
from tests.support.kafka import RunningBroker, make_broker
from tests.support.process import free_port

_COUNT = 3
_JAVA = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")  # they share two cores with all the rest


@dataclass(frozen=True, slots=True)
class RunningCluster:
    """A cluster that runs.

    Attributes:
        brokers: its members.
        near: bootstrap servers through the proxy.
        direct: bootstrap servers for those who check.
        routes: what the proxy is to hand on; a class for each broker.
    """

    brokers: Sequence[RunningBroker]
    near: Sequence[str]
    direct: Sequence[str]
    routes: Sequence[Route]


@contextlib.contextmanager
def running_cluster(folder: Path) -> Iterator[RunningCluster]:
    """Run a cluster until the block ends.

    Raises:
        MissingProgramError: Kafka or Java is not there; says what to do.
        DaemonFailedError: a broker does not come up; says what it logged.
    """
    ports = [(free_port(), free_port(), free_port()) for _ in range(_COUNT)]
    voters = ",".join(f"{number}@127.0.0.1:{own[2]}" for number, own in enumerate(ports, 1))
    brokers = [
        make_broker(
            folder / f"broker-{number}",
            _properties(number, own, voters),
            bootstrap=f"127.0.0.1:{own[1]}",
            java_options=_JAVA,
        )
        for number, own in enumerate(ports, 1)
    ]
    try:
        # None of them answers before two are there.
        with ThreadPoolExecutor(_COUNT) as threads:
            list(threads.map(RunningBroker.start, brokers))
        yield RunningCluster(
            brokers=brokers,
            near=[f"{NEAR}:{client}" for client, _, _ in ports],
            direct=[broker.bootstrap for broker in brokers],
            routes=[Route(f"broker-{number}", client) for number, (client, _, _) in enumerate(ports, 1)],
        )
    finally:
        for broker in brokers:
            broker.kill()


def _properties(number: int, ports: tuple[int, int, int], voters: str) -> dict[str, str]:
    client, direct, controller = ports
    return {
        "process.roles": "broker,controller",
        "node.id": str(number),
        "listeners": (
            f"NEAR://127.0.0.1:{client},DIRECT://127.0.0.1:{direct},CONTROLLER://127.0.0.1:{controller}"
        ),
        "advertised.listeners": f"NEAR://{NEAR}:{client},DIRECT://127.0.0.1:{direct}",
        "listener.security.protocol.map": "NEAR:PLAINTEXT,DIRECT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "DIRECT",
        "controller.listener.names": "CONTROLLER",
        "controller.quorum.voters": voters,
        "default.replication.factor": str(_COUNT),
        "min.insync.replicas": "2",
        "offsets.topic.replication.factor": str(_COUNT),
        "transaction.state.log.replication.factor": str(_COUNT),
        "transaction.state.log.min.isr": "2",
        "num.network.threads": "2",
        "num.io.threads": "4",
    }
