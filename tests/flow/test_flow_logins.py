"""A wrong secret is tried once, however many pods have it; a right one holds up nobody."""
# ruff: noqa: ARG001 - pytest-trio takes the clock from the arguments

from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock

from pooler.errors import ConnectError, LoginRefused
from pooler.flow import secrets
from pooler.flow.logins import CautiousConnector
from pooler.flow.secrets import Digester
from tests.support.control_double import ControlLog
from tests.support.flow_double import FakeServer, always


class Pods:
    """Some pods with the same remote, each with a secret that can be changed.

    Attributes:
        log: what they share.
        secrets: by their names.
    """

    def __init__(self, server: FakeServer, *names: str) -> None:
        self.log = ControlLog()
        self.secrets = dict.fromkeys(names, "wrong")
        self.steering = {name: self.log.follow(name, far=None) for name in names}
        self.connectors = {
            name: CautiousConnector(
                "far", server, self._secret(name), Digester("far", "host", "anna"), self.steering[name]
            )
            for name in names
        }
        self.ends: dict[str, str] = {}

    def _secret(self, name: str) -> Callable[[], str]:
        return lambda: self.secrets[name]

    async def run(self, nursery: trio.Nursery) -> None:
        for steering in self.steering.values():
            nursery.start_soon(steering.run, self.log)
        for steering in self.steering.values():
            await steering.ready.wait()

    async def connect(self, *names: str) -> None:
        async def one(name: str) -> None:
            try:
                await (await self.connectors[name].connect()).aclose()
            except (LoginRefused, ConnectError) as error:
                self.ends[name] = str(error)
            else:
                self.ends[name] = "in"

        async with trio.open_nursery() as nursery:
            for name in names or self.connectors:
                nursery.start_soon(one, name)


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    async def at_once(function: Callable[[], str], **_: object) -> str:
        await trio.lowlevel.checkpoint()
        return function()

    monkeypatch.setattr(secrets, "_COST", 2)
    monkeypatch.setattr(trio.to_thread, "run_sync", at_once)  # virtual time waits for no thread


async def test_ten_pods_with_a_wrong_secret_try_it_once_and_never_again(autojump_clock: MockClock) -> None:
    server = FakeServer(on_connect=always(lambda: LoginRefused("530 no")), connect_s=1.0)
    pods = Pods(server, *(f"pod-{number}" for number in range(10)))
    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:
            await pods.run(nursery)
            for _ in range(3):
                await pods.connect()
            assert len(server.connects) == 1
            assert sum("not tried again" in end for end in pods.ends.values()) == 10
            assert all("530 no" in end for end in pods.ends.values())
            nursery.cancel_scope.cancel()
    assert not any(b"wrong" in part for record in pods.log.records for part in record if part)


async def test_a_secret_that_was_changed_is_tried_and_lets_all_in(autojump_clock: MockClock) -> None:
    server = FakeServer(on_connect=always(lambda: LoginRefused("530 no")))
    pods = Pods(server, "a", "b", "c")
    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:
            await pods.run(nursery)
            await pods.connect()
            server.on_connect = FakeServer().on_connect
            pods.secrets["a"] = "right"
            await pods.connect()
            assert pods.ends["a"] == "in"
            assert "not tried again" in pods.ends["b"]
            assert len(server.connects) == 2
            pods.secrets |= {"b": "right", "c": "right"}
            await pods.connect()
            assert set(pods.ends.values()) == {"in"}
            nursery.cancel_scope.cancel()


async def test_a_right_secret_is_tried_by_one_and_then_by_all_at_once(autojump_clock: MockClock) -> None:
    server = FakeServer(connect_s=2.0)
    pods = Pods(server, *"abcdef")
    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:
            await pods.run(nursery)
            began = trio.current_time()
            await pods.connect()
            assert set(pods.ends.values()) == {"in"}
            # The first alone, then the other five beside each other.
            assert trio.current_time() - began < 6
            assert sorted(at - server.connects[0] >= 2.0 for at in server.connects) == [False] + [True] * 5
            nursery.cancel_scope.cancel()


async def test_what_an_operator_resets_is_tried_once_more(autojump_clock: MockClock) -> None:
    server = FakeServer(on_connect=always(lambda: LoginRefused("530 no")))
    pods = Pods(server, "a", "b")
    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:
            await pods.run(nursery)
            await pods.connect()
            await pods.steering["b"].forgive("far", by="anna")
            await pods.connect()
            assert len(server.connects) == 2
            nursery.cancel_scope.cancel()


async def test_where_nobody_answered_the_next_pod_tries(autojump_clock: MockClock) -> None:
    server = FakeServer(on_connect=always(lambda: ConnectError("away")))
    pods = Pods(server, "a", "b")
    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:
            await pods.run(nursery)
            await pods.connect()
            assert set(pods.ends.values()) == {"away"}
            assert len(server.connects) == 2
            nursery.cancel_scope.cancel()


async def test_who_dies_while_it_tries_holds_up_nobody_for_long(autojump_clock: MockClock) -> None:
    server = FakeServer()
    pods = Pods(server, "a", "b")
    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pods.steering["b"].run, pods.log)
            await pods.steering["b"].ready.wait()
            async with trio.open_nursery() as dying:
                dying.start_soon(pods.steering["a"].run, pods.log)
                await pods.steering["a"].ready.wait()
                server.connect_s = 1000.0
                dying.start_soon(pods.connect, "a")
                await trio.sleep(3)
                pods.log.cut_off(pods.steering["a"])
                pods.steering["a"]._pen = ControlLog(broken=True)
                dying.cancel_scope.cancel()
            server.connect_s = 0.0
            await pods.connect("b")
            assert pods.ends["b"] == "in"
            nursery.cancel_scope.cancel()


def test_a_digest_is_of_one_account_and_short() -> None:
    digests = {
        Digester("far", "host", "anna")("secret"),
        Digester("far", "host", "bert")("secret"),
        Digester("near", "host", "anna")("secret"),
        Digester("far", "host2", "anna")("secret"),
        Digester("far", "host", "anna")("Secret"),
    }
    assert len(digests) == 5
    assert {len(digest) for digest in digests} == {6}
    digester = Digester("far", "host", "anna")
    assert digester("secret") == digester("secret") == Digester("far", "host", "anna")("secret")
    assert digester("other") != digester("secret")
    assert "secret" not in repr(vars(digester))
