"""A wrong secret is tried once, however many pods have it; a right one holds up nobody."""
# ruff: noqa: ARG001 - pytest-trio takes the clock from the arguments

from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from pooler.config.passwords import PasswordFile
from pooler.errors import ConnectError, LoginRefused, NoPassword
from pooler.flow import secrets
from pooler.flow.logins import CautiousConnector, OwnBook, read_anew
from pooler.flow.secrets import Digester, unshared
from pooler.model.control import Gone, News
from tests.support.control_double import ControlLog
from tests.support.flow_double import FakeServer, always
from tests.support.secret_volume import SecretVolume


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
                "far",
                server,
                read_anew(self._secret(name), Digester("far", "host", "anna")),
                self.steering[name],
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


async def test_what_was_right_and_is_refused_now_is_tried_once_after_a_reset_too(
    autojump_clock: MockClock,
) -> None:
    server = FakeServer(connect_s=1.0)
    pods = Pods(server, *"abcde")
    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:
            await pods.run(nursery)
            await pods.connect()
            assert set(pods.ends.values()) == {"in"}
            server.on_connect = always(lambda: LoginRefused("530 expired"))
            await pods.connect("a")
            await pods.connect("b", "c")
            tried = len(server.connects)
            await pods.steering["b"].forgive("far", by="anna")
            await pods.connect()
            assert len(server.connects) == tried + 1
            assert all("530 expired" in end for end in pods.ends.values())
            nursery.cancel_scope.cancel()


async def test_who_hears_nothing_goes_on_with_what_was_right_and_with_nothing_else(
    autojump_clock: MockClock,
) -> None:
    server = FakeServer()
    pods = Pods(server, "a")
    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:
            await pods.run(nursery)
            await pods.connect()
            pods.steering["a"].end()
            await pods.connect()
            assert (len(server.connects), pods.ends["a"]) == (2, "in")
            pods.secrets["a"] = "new"
            with trio.move_on_after(20):
                await pods.connect()
            server.on_connect = always(lambda: LoginRefused("530 no"))
            pods.secrets["a"] = "wrong"
            await pods.connect()
            assert len(server.connects) == 3
            with trio.move_on_after(20):
                await pods.connect()
            assert len(server.connects) == 3
            nursery.cancel_scope.cancel()


async def test_a_refusal_that_could_not_be_told_is_told_before_the_next_try(
    autojump_clock: MockClock,
) -> None:
    server = FakeServer()
    pods = Pods(server, "a", "b")

    async def refuse_as_the_brokers_vanish(_count: int) -> None:
        await trio.lowlevel.checkpoint()
        pods.log.broken = True
        raise LoginRefused("530 no")

    server.on_connect = refuse_as_the_brokers_vanish
    with trio.fail_after(200):
        async with trio.open_nursery() as nursery:
            await pods.run(nursery)
            await pods.connect("a")
            assert pods.ends["a"] == "530 no"
            await pods.connect("a")
            assert "not tried again before the other pods know: 530 no" in pods.ends["a"]
            pods.log.broken = False
            await pods.connect("a")
            assert "not tried again: a was refused" in pods.ends["a"]
            assert len(server.connects) == 1
            await pods.connect("b")
            assert "not tried again: a was refused" in pods.ends["b"]
            nursery.cancel_scope.cancel()


class Watched:
    """One pod that reads its secret from a volume, and says when it would try again at once."""

    def __init__(self, server: FakeServer, volume: SecretVolume) -> None:
        self.book = OwnBook("a")
        secret = PasswordFile("far", volume.path("far"))
        self.connector = CautiousConnector("far", server, read_anew(secret, unshared()), self.book)
        self.tried_again_at: list[float] = []

    def _try_again(self) -> None:
        self.tried_again_at.append(trio.current_time())

    async def run(self) -> None:
        await self.connector.run(self._try_again)


async def test_a_new_secret_in_a_mounted_volume_ends_the_refusal_at_once(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    volume = SecretVolume(tmp_path / "secrets", far="wrong")
    server = FakeServer(on_connect=always(lambda: LoginRefused("530 no")))
    pod = Watched(server, volume)
    with trio.fail_after(1000):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pod.run)
            for turn, content in enumerate(("still wrong", "right"), 1):
                with pytest.raises(LoginRefused, match=r"^530 no$"):
                    await pod.connector.connect()
                volume.rotate(far=volume.path("far").read_text())  # written anew, and still the same
                await trio.sleep(20)
                assert len(pod.tried_again_at) == turn - 1
                with pytest.raises(LoginRefused, match="not tried again"):
                    await pod.connector.connect()
                assert len(server.connects) == turn
                volume.rotate(far=content)
                rotated = trio.current_time()
                await trio.sleep(20)
                assert len(pod.tried_again_at) == turn
                assert pod.tried_again_at[-1] - rotated <= 1
            server.on_connect = FakeServer().on_connect
            await (await pod.connector.connect()).aclose()
            volume.rotate(far="newer")
            await trio.sleep(20)
            assert len(pod.tried_again_at) == 2  # nobody waits for one
            nursery.cancel_scope.cancel()


async def test_who_waits_for_another_s_try_takes_a_new_secret_of_its_own(autojump_clock: MockClock) -> None:
    async def slow(_number: int) -> None:
        if len(server.connects) == 1:
            await trio.sleep(30)

    server = FakeServer(on_connect=slow)
    pods = Pods(server, "a", "b")
    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:
            await pods.run(nursery)
            nursery.start_soon(pods.connect, "a")
            await trio.sleep(5)
            nursery.start_soon(pods.connect, "b")
            await trio.sleep(5)
            assert pods.ends == {}
            pods.secrets["b"] = "right"
            await trio.sleep(3)
            assert pods.ends == {"b": "in"}
            await trio.sleep(30)
            assert pods.ends == {"a": "in", "b": "in"}
            nursery.cancel_scope.cancel()


async def test_a_refusal_of_nobody_knows_which_secret_lets_the_next_pod_try(
    autojump_clock: MockClock,
) -> None:
    async def refuse_as_it_is_replaced(_number: int) -> None:
        await trio.sleep(1)
        if len(server.connects) == 1:
            pods.secrets["a"] = "right"
            raise LoginRefused("530 no")

    server = FakeServer(on_connect=refuse_as_it_is_replaced)
    pods = Pods(server, "a", "b")
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            await pods.run(nursery)
            nursery.start_soon(pods.connect, "a")
            await trio.sleep(0.5)
            await pods.connect("b")
            assert pods.ends["b"] == "in"
            assert pods.ends["a"] == "530 no"
            nursery.cancel_scope.cancel()


async def test_a_session_that_nobody_gets_is_closed(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = FakeServer()
    pods = Pods(server, "a")
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            await pods.run(nursery)
            write = pods.steering["a"].write

            async def stuck(news: News | Gone) -> None:
                if server.open:
                    await trio.sleep_forever()
                await write(news)

            monkeypatch.setattr(pods.steering["a"], "write", stuck)
            with trio.move_on_after(10):
                await pods.connect("a")
            assert server.opened == 1
            assert not server.open
            nursery.cancel_scope.cancel()


async def test_a_secret_that_comes_back_is_tried_at_once(autojump_clock: MockClock, tmp_path: Path) -> None:
    volume = SecretVolume(tmp_path / "secrets", far="")
    pod = Watched(FakeServer(), volume)
    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pod.run)
            with pytest.raises(NoPassword):
                await pod.connector.connect()
            await trio.sleep(5)
            assert pod.tried_again_at == []
            volume.rotate(far="right")
            await trio.sleep(2)
            assert len(pod.tried_again_at) == 1
            await (await pod.connector.connect()).aclose()
            nursery.cancel_scope.cancel()


async def test_who_is_alone_tries_a_wrong_secret_once_and_once_more_when_it_is_forgiven(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    server = FakeServer(on_connect=always(lambda: LoginRefused("530 no")))
    pod = Watched(server, SecretVolume(tmp_path / "secrets", far="wrong"))
    for turn in (1, 2):
        with pytest.raises(LoginRefused, match=r"^530 no$"):
            await pod.connector.connect()
        for _ in range(3):
            with pytest.raises(LoginRefused, match="not tried again: a was refused"):
                await pod.connector.connect()
        assert len(server.connects) == turn
        pod.book.forgive("far")


async def test_who_is_alone_and_not_answered_tries_again(autojump_clock: MockClock, tmp_path: Path) -> None:
    server = FakeServer(on_connect=always(lambda: ConnectError("away")))
    pod = Watched(server, SecretVolume(tmp_path / "secrets", far="right"))
    for _ in range(2):
        with pytest.raises(ConnectError):
            await pod.connector.connect()
    server.on_connect = FakeServer().on_connect
    for _ in range(2):
        await (await pod.connector.connect()).aclose()
    assert len(server.connects) == 4


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
