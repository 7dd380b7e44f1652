"""`pooler run` as a process of its own, with files written for it, as an operator would start it."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.kafka import Message, committed, create_topics, read_topic
from tests.support.process import free_port
from tests.support.servers import RunningServer

TOPICS = {"ftp-tasks": 4, "ftp-results": 2, "ftp-failures": 2, "ftp-tasks-dlq": 1}
_PAUSE_S = 0.05
_WITHIN_S = 60.0


@dataclass(slots=True)
class RunningPooler:
    """One process of the service.

    Attributes:
        process: the process.
        api: URL of its admin API.
        metrics: URL of its metrics.
        log: its log, one JSON object a line.
    """

    process: subprocess.Popen[bytes]
    api: str
    metrics: str
    log: Path

    def get(self, path: str) -> Any:
        """Ask the admin API."""
        with urllib.request.urlopen(f"{self.api}{path}", timeout=5) as response:
            return json.load(response)

    def post(self, path: str) -> int:
        """Tell the admin API something; return the status of its answer."""
        request = urllib.request.Request(f"{self.api}{path}", method="POST")
        with urllib.request.urlopen(request, timeout=5) as response:
            return int(response.status)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def wait(self, within_s: float = 40.0) -> int:
        """Wait for the end; return the exit status."""
        return self.process.wait(within_s)

    def events(self) -> list[dict[str, Any]]:
        """Read its log; a line that is no JSON object is an error."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]


class Site:
    """A folder with a configuration, a local root, and the processes that use them.

    Args:
        folder: where all of it goes.
        bootstrap: the broker.
        servers: FTP servers by the name of their section.
        settings: sections of config.yaml, over what tests need.
    """

    def __init__(
        self,
        folder: Path,
        bootstrap: str,
        servers: Mapping[str, RunningServer],
        settings: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.folder = folder
        self.bootstrap = bootstrap
        self.local = folder / "local"
        self.local.mkdir(parents=True)
        self.group = f"pooler-{folder.name}"
        self._started = 0
        base: dict[str, dict[str, Any]] = {
            "kafka": {
                "bootstrap_servers": [bootstrap],
                "consumer_group": self.group,
                "commit_interval_ms": 100,
                "session_timeout_ms": 6000,
                "heartbeat_interval_ms": 1000,
                "retry_partitions": 1,
            },
            "api": {"host": "127.0.0.1", "port": free_port()},
            "metrics": {"host": "127.0.0.1", "port": free_port()},
            "retry": {"base_backoff_ms": 50, "max_backoff_ms": 500},
        }
        for section, values in (settings or {}).items():
            base.setdefault(section, {}).update(values)
        self.settings = base
        # YAML takes JSON as it is.
        (folder / "config.yaml").write_text(json.dumps(base))
        sections = [f"[local]\ntype = local\nbase_path = {self.local}\n"]
        for name, server in servers.items():
            section = (
                f"[{name}]\ntype = ftp\nhost = {server.host}\nport = {server.port}\nuser = {server.user}\n"
            )
            section += f"pass = {server.password}\n"
            if server.ca_file is not None:
                section += f"explicit_tls = true\nca_file = {server.ca_file}\n"
            sections.append(section)
        (folder / "connections.ini").write_text("\n".join(sections))
        (folder / "connections.ini").chmod(0o600)

    def command(self, *words: str) -> list[str]:
        """Make a command line of `pooler` on this site's files."""
        return [
            sys.executable, "-m", "pooler", *words,
            "--config", str(self.folder / "config.yaml"),
            "--connections", str(self.folder / "connections.ini"),
        ]  # fmt: skip

    @contextmanager
    def running(self, *words: str, ready: bool = True, **environment: str) -> Iterator[RunningPooler]:
        """Run the service until the block ends; by then the test has ended it, or it is killed."""
        self._started += 1
        log = self.folder / f"pooler-{self._started}.log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                self.command("run", *words), stderr=stream, env={**os.environ, **environment}
            )
        running = RunningPooler(
            process,
            f"http://127.0.0.1:{self.settings['api']['port']}",
            f"http://127.0.0.1:{self.settings['metrics']['port']}",
            log,
        )
        try:
            if ready:
                wait_until(lambda: _is_ready(running), f"{log} to say that it is ready")
            yield running
        finally:
            process.kill()
            process.wait()

    def create_topics(self) -> None:
        """Make the four topics."""
        create_topics(self.bootstrap, TOPICS)

    def answers(self) -> dict[str, list[dict[str, Any]]]:
        """Read both topics of answers: by task_id, every one that there is."""
        found: dict[str, list[dict[str, Any]]] = {}
        for message in self.messages("ftp-results") + self.messages("ftp-failures"):
            assert message.value is not None
            answer = json.loads(message.value)
            assert message.key == answer["task_id"].encode()
            found.setdefault(answer["task_id"], []).append(answer)
        return found

    def messages(self, topic: str) -> list[Message]:
        """Read a topic whole."""
        return read_topic(self.bootstrap, topic)

    def committed(self) -> dict[tuple[str, int], tuple[int, str]]:
        """Tell what the group has committed."""
        return committed(self.bootstrap, self.group)

    def wait_for_answers(self, count: int) -> dict[str, list[dict[str, Any]]]:
        """Wait until so many different jobs are answered."""
        found: dict[str, list[dict[str, Any]]] = {}

        def enough() -> bool:
            found.update(self.answers())
            return len(found) >= count

        wait_until(enough, f"{count} answers")
        return self.answers()


def wait_until(holds: Callable[[], bool], what: str, within_s: float = _WITHIN_S) -> None:
    """Look again and again until something holds.

    Raises:
        AssertionError: it does not, in time.
    """
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"waited {within_s:g} s in vain for {what}"
        time.sleep(_PAUSE_S)


def _is_ready(running: RunningPooler) -> bool:
    if running.process.poll() is not None:
        raise AssertionError(f"ended with {running.process.returncode}:\n{running.log.read_text()[-4000:]}")
    try:
        return bool(running.get("/v1/status")["ready"])
    except OSError:
        return False
