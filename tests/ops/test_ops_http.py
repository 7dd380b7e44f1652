"""The admin API and the metrics over real sockets, Hypercorn included."""

import io
import json
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import trio
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from pooler.errors import BusError
from pooler.flow.deployment import Deployment
from pooler.model.control import Claim, Knob, Login, Mode, PodNews, RemoteNews, Setting, Trial
from pooler.ops.http import server
from pooler.ops.http.app import create_app
from pooler.ops.http.auth import MAX_FAILURES, Scope
from pooler.ops.http.deployment import describe
from pooler.ops.http.framework import bare_app
from pooler.ops.http.metrics_app import create_metrics_app
from pooler.ops.http.server import GRACE_S, serve_http
from pooler.ops.metrics import Metrics
from tests.support.api import TOKENS, assert_problem, bearer, logged, serving
from tests.support.http_client import Address, ask, encode, read_answer
from tests.support.service_double import ServiceDouble

PROBES = ("/livez", "/live", "/health", "/readyz", "/ready", "/stats")


@pytest.fixture
def service() -> ServiceDouble:
    return ServiceDouble()


@pytest.fixture
async def api(service: ServiceDouble) -> AsyncIterator[Address]:
    async with serving(create_app(service, TOKENS)) as (address, _):
        yield address


@pytest.fixture
async def open_api(service: ServiceDouble) -> AsyncIterator[Address]:
    async with serving(create_app(service, ())) as (address, _):
        yield address


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    with logged() as stream:
        yield stream


@pytest.mark.parametrize("path", PROBES)
async def test_probes_need_no_token(api: Address, path: str) -> None:
    answer = await ask(api, "GET", path)
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("path", ["/readyz", "/ready"])
async def test_a_pod_that_takes_no_jobs_is_alive_but_not_ready(
    api: Address, service: ServiceDouble, path: str
) -> None:
    service.change_status(ready=False, reasons=("no partitions assigned",))
    answer = await ask(api, "GET", path)
    assert answer.status == 503
    assert answer.json == {"status": "not ready", "reasons": ["no partitions assigned"]}
    assert (await ask(api, "GET", "/livez")).status == 200


async def test_stats_are_counters(api: Address) -> None:
    stats = (await ask(api, "GET", "/stats")).json
    assert stats["jobs"] == {"succeeded": 100, "failed": 3, "skipped": 2}
    assert stats["window"] == {"records": 9, "bytes": 900}
    assert stats["remotes"]["site-b"]["breaker"] == "open"


async def test_status(api: Address) -> None:
    answer = await ask(api, "GET", "/v1/status", bearer("read"))
    assert answer.status == 200
    assert answer.json["version"] == "1.2.3"
    assert len(answer.json["partitions"]) == 2


async def test_the_partitions(api: Address) -> None:
    running, stopped = (await ask(api, "GET", "/v1/partitions", bearer("read"))).json["partitions"]
    assert running == {
        "topic": "ftp-tasks", "partition": 0, "state": "running", "reason": None, "way_on": None,
        "position": 12, "watermark": 5, "committed": 4, "lag": 5, "settled_above": 2, "in_hand": 5,
        "oldest_age_s": 12.5, "pod": "pooler-0",
    }  # fmt: skip
    assert (stopped["state"], stopped["reason"]) == ("stopped", "no offset is on record")
    assert stopped["way_on"] == "commit an offset"


async def test_remotes_come_without_their_sessions_and_one_with(api: Address) -> None:
    remotes = (await ask(api, "GET", "/v1/remotes", bearer("read"))).json["remotes"]
    assert [remote["name"] for remote in remotes] == ["site-a", "site-b"]
    assert "sessions" not in remotes[0]
    remote = (await ask(api, "GET", "/v1/remotes/site-a", bearer("read"))).json
    sessions = remote.pop("sessions")
    learnt = remote.pop("learnt")
    limits = remote.pop("limits")
    assert remote == remotes[0]
    assert (limits["state"], limits["most"], limits["let_in"]) == ("steady", 10, 10)
    assert limits["decisions"][0]["reason"] == "more sessions do not help"
    assert limits["decisions"][0]["seen"]["files_per_s"] == 80.0
    assert learnt == {"server": "proftpd 1.3.8", "features": ["MLST", "SIZE"], "mlst": True, "hash": None}
    assert sessions[0] == {
        "busy": True, "job": "task-1", "since_s": 0.5, "bytes": 4096, "peer": "192.0.2.1:21",
    }  # fmt: skip


async def test_the_folders(api: Address) -> None:
    folders = (await ask(api, "GET", "/v1/folders", bearer("read"))).json["folders"]
    assert [folder["name"] for folder in folders] == ["local", "nfs"]
    assert folders[1] == {
        "name": "nfs",
        "paused": True,
        "reason": "stalled",
        "error": "nfs:/: no answer for 30 s",
        "paused_s": 12.5,
        "uploads_go_on": False,
        "waiting": 4,
        "free_bytes": None,
    }


async def test_pause_and_resume(api: Address, service: ServiceDouble) -> None:
    answer = await ask(api, "POST", "/v1/remotes/site-a/pause", bearer("operate"))
    assert (answer.status, answer.json["paused"]) == (200, True)
    answer = await ask(api, "POST", "/v1/remotes/site-a/resume", bearer("operate"))
    assert (answer.status, answer.json["paused"]) == (200, False)
    assert service.calls == [
        ("work", "site-a", "pause", "operate-name", ""), ("work", "site-a", "run", "operate-name", ""),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "call"),
    [
        ("pause?why=they%20asked", ("work", "site-a", "pause", "operate-name", "they asked")),
        ("drain", ("work", "site-a", "drain", "operate-name", "")),
        ("limit?max_sessions=3", ("max_sessions", "site-a", "3", "operate-name", "")),
        ("limit?max_sessions_total=9&why=x", ("max_sessions_total", "site-a", "9", "operate-name", "x")),
        ("limit?max_sessions=0", ("max_sessions", "site-a", "None", "operate-name", "")),
        ("bandwidth?bytes_per_s=1000000", ("bandwidth", "site-a", "1000000", "operate-name", "")),
        ("bandwidth?bytes_per_s=0", ("bandwidth", "site-a", "None", "operate-name", "")),
        ("reset", ("breaker", "site-a", "None", "operate-name", "")),
    ],
)
async def test_what_is_wanted_of_a_remote_reaches_the_service(
    api: Address, service: ServiceDouble, path: str, call: tuple[str, ...]
) -> None:
    answer = await ask(api, "POST", f"/v1/remotes/site-a/{path}", bearer("operate"))
    assert (answer.status, answer.json["name"]) == (200, "site-a")
    assert service.calls == [call]


async def test_both_bounds_can_be_set_at_once(api: Address, service: ServiceDouble) -> None:
    path = "/v1/remotes/site-a/limit?max_sessions=3&max_sessions_total=9"
    assert (await ask(api, "POST", path, bearer("operate"))).status == 200
    assert [call[:3] for call in service.calls] == [
        ("max_sessions", "site-a", "3"), ("max_sessions_total", "site-a", "9"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "path",
    ["limit", "limit?max_sessions=-1", "limit?max_sessions=many", "limit?max_sessions=100001",
     "bandwidth?bytes_per_s=1e6", "bandwidth?bytes_per_s=-1"],
)  # fmt: skip
async def test_a_bound_that_makes_no_sense_is_a_problem(
    api: Address, service: ServiceDouble, path: str
) -> None:
    answer = await ask(api, "POST", f"/v1/remotes/site-a/{path}", bearer("operate"))
    assert_problem(answer, 400, f"/v1/remotes/site-a/{path.partition('?')[0]}")
    assert service.calls == []


async def test_what_kafka_does_not_take_does_not_hold(api: Address, service: ServiceDouble) -> None:
    service.deaf = BusError("no answer within 9 s")
    answer = await ask(api, "POST", "/v1/remotes/site-a/pause", bearer("operate"))
    assert_problem(answer, 503, "/v1/remotes/site-a/pause")
    assert "no answer within 9 s" in answer.json["detail"]


async def test_the_pods_and_what_operators_want(api: Address, service: ServiceDouble) -> None:
    deployment = Deployment(["site-a"])
    claims = {"remote site-a": Claim(2, 3, 9, 10)}
    remotes = {"site-a": RemoteNews("closed", False, 2, 1, 0, 3, 7, 1.5, 4096)}
    for number in range(3):
        news = PodNews(f"cafe{number}", f"pooler-{number}", 1, 1.0, "1.2.3", 3.0, claims, remotes)
        deployment.hear(news, 100.0 if number else 80.0)
    deployment.hear(Setting("site-a", Knob.WORK, Mode.PAUSE, "anna", 0.0, "they asked"), 100.0)
    deployment.hear(Login("site-a", "abc", Trial.REFUSED, "cafe1", "pooler-1", 60.0, "530 no"), 100.0)
    service.pods = describe(deployment, "cafe1", 101.0)
    found = (await ask(api, "GET", "/v1/pods", bearer("read"))).json
    assert [(pod["pod"], pod["me"], pod["silent"], pod["heard_s"]) for pod in found["pods"]] == [
        ("pooler-0", False, True, 21.0), ("pooler-1", True, False, 1.0), ("pooler-2", False, False, 1.0),
    ]  # fmt: skip
    assert found["pods"][0]["shares"] == [
        {"of": "remote site-a", "holds": 2, "asks": 3, "wants": 9, "total": 10}
    ]
    (remote,) = found["remotes"]
    assert (remote["sessions"], remote["busy"], remote["waiting"], remote["files_per_s"]) == (6, 4, 14, 3.0)
    assert remote["wanted"] == [
        {
            "what": "work",
            "value": "pause",
            "by": "anna",
            "at": "1970-01-01T00:00:00+00:00",
            "why": "they asked",
        }
    ]
    assert remote["refused"] == [{"pod": "pooler-1", "at": "1970-01-01T00:01:00+00:00", "reply": "530 no"}]


async def test_drain_is_accepted_and_told(api: Address, service: ServiceDouble) -> None:
    answer = await ask(api, "POST", "/v1/drain", bearer("admin"))
    assert (answer.status, answer.json["pod"]) == (202, "pooler-0")
    assert service.calls == [("drain",)]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/remotes/none"), ("POST", "/v1/remotes/none/pause"), ("POST", "/v1/remotes/none/resume"),
        ("GET", "/v1/none"), ("GET", "/static/x"), ("GET", "/metrics"),
    ],
)  # fmt: skip
async def test_what_is_not_there_is_a_problem(
    api: Address, service: ServiceDouble, method: str, path: str
) -> None:
    assert_problem(await ask(api, method, path, bearer("admin")), 404, path)
    assert service.calls == []


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("GET", "/v1/drain", "POST"), ("DELETE", "/v1/status", "GET, HEAD"), ("OPTIONS", "/livez", "GET, HEAD")],
)
async def test_a_method_that_is_not_there_names_those_that_are(
    api: Address, method: str, path: str, allowed: str
) -> None:
    answer = await ask(api, method, path, bearer("admin"))
    assert_problem(answer, 405, path)
    assert sorted(answer.headers["allow"].split(", ")) == allowed.split(", ")


async def test_a_bug_is_a_problem_that_tells_nothing_and_a_log_line_that_tells_all(
    api: Address, service: ServiceDouble, log: io.StringIO
) -> None:
    service.broken = RuntimeError("the details")
    answer = await ask(api, "GET", "/v1/status", bearer("read"))
    assert_problem(answer, 500, "/v1/status")
    assert b"the details" not in answer.body
    (line,) = [json.loads(line) for line in log.getvalue().splitlines()]
    assert (line["event"], line["path"]) == ("api_failed", "/v1/status")
    assert "the details" in line["exception"]


@pytest.mark.parametrize(
    ("method", "path", "least"),
    [
        ("GET", "/v1/status", "read"), ("GET", "/v1/folders", "read"), ("GET", "/v1/partitions", "read"),
        ("GET", "/v1/remotes", "read"), ("GET", "/v1/remotes/site-a", "read"),
        ("POST", "/v1/remotes/site-a/pause", "operate"), ("POST", "/v1/remotes/site-a/resume", "operate"),
        ("POST", "/v1/drain", "admin"),
    ],
)  # fmt: skip
async def test_a_token_allows_its_scope_and_the_ones_below(
    api: Address, service: ServiceDouble, method: str, path: str, least: str
) -> None:
    answer = await ask(api, method, path)
    assert_problem(answer, 401, path)
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert_problem(await ask(api, method, path, {"Authorization": "Basic cmVhZDp4"}), 401, path)
    wrong = await ask(api, method, path, bearer("wrong"))
    assert_problem(wrong, 401, path)
    assert "invalid_token" in wrong.headers["www-authenticate"]
    for scope in Scope:
        name = scope.name.lower()
        if scope < Scope[least.upper()]:
            assert_problem(await ask(api, method, path, bearer(name)), 403, path)
        else:
            assert service.calls == [] or least != "admin"
            assert (await ask(api, method, path, bearer(name))).status in {200, 202}


async def test_wrong_tokens_block_their_address(api: Address) -> None:
    for _ in range(MAX_FAILURES):
        assert (await ask(api, "GET", "/v1/status", bearer("wrong"))).status == 401
    answer = await ask(api, "GET", "/v1/status", bearer("admin"))
    assert_problem(answer, 429, "/v1/status")
    assert 0 < int(answer.headers["retry-after"]) <= 61
    assert (await ask(api, "GET", "/livez")).status == 200


async def test_without_tokens_loopback_may_act(open_api: Address, service: ServiceDouble) -> None:
    assert (await ask(open_api, "GET", "/v1/status")).status == 200
    assert (await ask(open_api, "POST", "/v1/remotes/site-a/pause")).status == 200
    assert service.calls == [("work", "site-a", "pause", "anonymous", "")]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://127.0.0.1"},
        {"Sec-Fetch-Site": "none"},
        {"X-Forwarded-For": "127.0.0.1"},
        {"Forwarded": "for=127.0.0.1"},
    ],
)
async def test_without_tokens_neither_browsers_nor_proxies_may_act(
    open_api: Address, service: ServiceDouble, headers: dict[str, str]
) -> None:
    assert_problem(await ask(open_api, "POST", "/v1/drain", headers), 403, "/v1/drain")
    # A browser may look, where it was sent to loopback by name; what a proxy hands on may come from anybody.
    proxy = "Forwarded" in headers or "X-Forwarded-For" in headers
    assert (await ask(open_api, "GET", "/v1/status", headers)).status == (403 if proxy else 200)
    assert service.calls == []


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8080", 200), ("localhost:8080", 200), ("[::1]:8080", 200), ("LocalHost", 200),
        ("evil.example.com:8080", 403), ("127.0.0.1.example.com", 403), ("192.0.2.1:8080", 403),
    ],
)  # fmt: skip
async def test_without_tokens_nobody_reads_under_another_name(
    service: ServiceDouble, host: str, status: int
) -> None:
    caller = create_app(service, ()).test_client()
    answer = await caller.get("/v1/status", headers={"Host": host}, scope_base={"client": ("127.0.0.1", 1)})
    assert answer.status_code == status


@pytest.mark.parametrize(
    ("client", "status"),
    [
        (("127.0.0.1", 1), 202), (("127.9.9.9", 1), 202), (("::1", 1), 202), (("::ffff:127.0.0.1", 1), 202),
        (("192.0.2.1", 1), 403), (("::ffff:192.0.2.1", 1), 403), (("fe80::1%eth0", 1), 403),
        (("a-name", 1), 403), (None, 403),
    ],
)  # fmt: skip
async def test_without_tokens_only_loopback_may_act(
    service: ServiceDouble, client: tuple[str, int] | None, status: int
) -> None:
    caller = create_app(service, ()).test_client()
    spoofed = {"Remote-Addr": "127.0.0.1"}
    answer = await caller.post("/v1/drain", headers=spoofed, scope_base={"client": client})
    assert answer.status_code == status
    assert service.calls == ([("drain",)] if status == 202 else [])
    read = await caller.get("/v1/status", headers=spoofed, scope_base={"client": client})
    assert read.status_code == (200 if status == 202 else 403)


async def test_each_action_and_each_refusal_is_logged(api: Address, log: io.StringIO) -> None:
    await ask(api, "POST", "/v1/remotes/site-a/pause", bearer("operate"))
    await ask(api, "POST", "/v1/drain", bearer("read"))
    action, refusal = [json.loads(line) for line in log.getvalue().splitlines()]
    assert action["event"] == "api_action"
    assert action["action"] == "pause"
    assert action["remote"] == "site-a"
    assert action["by"] == "operate-name"
    assert action["address"] == "127.0.0.1"
    assert refusal["event"] == "api_refused"
    assert (refusal["path"], refusal["status"]) == ("/v1/drain", 403)


OTHER_ANSWERS = {
    "/v1/jobs": {"400", "409", "413", "422", "503"},
    "/v1/batches": {"400"}, "/v1/jobs/running": {"400"}, "/v1/jobs/ended": {"400"}, "/v1/failures": {"400"},
    "/v1/jobs/find": {"400", "404"}, "/v1/jobs/cancel": {"400", "404"},
    "/v1/partitions": {"400"}, "/v1/audit": {"400"}, "/v1/reload": {"400"}, "/v1/drain": {"400", "404"},
    "/v1/remotes/{name}/probe": {"404", "409"},
}  # fmt: skip


async def test_the_openapi_document_declares_every_route_and_answer(api: Address) -> None:
    document = (await ask(api, "GET", "/v1/openapi.json")).json
    assert document["openapi"].startswith("3.1")
    operations = {
        (method, path): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert set(operations) == {
        ("get", "/livez"), ("get", "/live"), ("get", "/health"), ("get", "/readyz"), ("get", "/ready"),
        ("get", "/stats"), ("get", "/v1/status"), ("get", "/v1/folders"), ("get", "/v1/partitions"),
        ("get", "/v1/remotes"), ("get", "/v1/remotes/{name}"),
        ("get", "/v1/pods"), ("post", "/v1/remotes/{name}/pause"), ("post", "/v1/remotes/{name}/resume"),
        ("post", "/v1/remotes/{name}/drain"), ("post", "/v1/remotes/{name}/limit"),
        ("post", "/v1/remotes/{name}/bandwidth"), ("post", "/v1/remotes/{name}/reset"), ("post", "/v1/drain"),
        ("get", "/v1/batches"),
        ("get", "/v1/jobs/running"), ("get", "/v1/jobs/ended"), ("get", "/v1/jobs/find"),
        ("get", "/v1/failures"), ("post", "/v1/jobs/cancel"), ("post", "/v1/jobs"), ("get", "/v1/audit"),
        ("get", "/v1/config"), ("get", "/v1/service"), ("post", "/v1/reload"),
        ("post", "/v1/remotes/{name}/probe"), ("get", "/v1/tasks"),
    }  # fmt: skip
    assert len({operation["operationId"] for operation in operations.values()}) == len(operations)
    for (method, path), operation in operations.items():
        assert operation["summary"], path
        declared = set(operation["responses"])
        if not path.startswith("/v1"):
            assert declared == ({"200", "503", "500"} if path in {"/readyz", "/ready"} else {"200", "500"})
            continue
        expected = {"202" if path in {"/v1/drain", "/v1/jobs"} else "200", "401", "403", "429", "500"}
        steered = {"400", "503"} if "{name}" in path and method == "post" else set()
        expected |= OTHER_ANSWERS.get(path, steered) | ({"404"} if "{name}" in path else set())
        assert declared == expected, (method, path)
        assert operation["security"] == [{"token": []}]
        for status, response in operation["responses"].items():
            media_type = "application/json" if status < "300" else "application/problem+json"
            assert list(response["content"]) == [media_type]


async def test_answers_are_as_the_openapi_document_says(api: Address) -> None:
    document = (await ask(api, "GET", "/v1/openapi.json")).json
    for path, url in [
        ("/livez", "/livez"), ("/readyz", "/readyz"), ("/stats", "/stats"),
        ("/v1/status", "/v1/status"), ("/v1/remotes", "/v1/remotes"), ("/v1/partitions", "/v1/partitions"),
        ("/v1/pods", "/v1/pods"), ("/v1/jobs/running", "/v1/jobs/running"), ("/v1/failures", "/v1/failures"),
        ("/v1/jobs/ended", "/v1/jobs/ended?limit=1"), ("/v1/jobs/ended", "/v1/jobs/ended?limit=0"),
        ("/v1/jobs/find", "/v1/jobs/find?task_id=task-1"), ("/v1/jobs/find", "/v1/jobs/find?task_id=none"),
        ("/v1/remotes/{name}", "/v1/remotes/site-a"), ("/v1/remotes/{name}", "/v1/remotes/none"),
    ]:  # fmt: skip
        answer = await ask(api, "GET", url, bearer("read"))
        content = document["paths"][path]["get"]["responses"][str(answer.status)]["content"]
        schema = content[answer.headers["content-type"]]["schema"]
        Draft202012Validator({**schema, "components": document["components"]}).validate(answer.json)


async def test_metrics_and_probes_on_a_port_of_their_own(service: ServiceDouble) -> None:
    metrics = Metrics("1.2.3", ["site-a"])
    metrics.watch(service)
    async with serving(create_metrics_app(service, metrics)) as (address, _):
        answer = await ask(address, "GET", "/metrics")
        assert answer.status == 200
        assert answer.headers["content-type"].startswith("text/plain")
        assert b'pooler_lane_jobs{remote="site-a"} 7.0' in answer.body
        openmetrics = await ask(address, "GET", "/metrics", {"Accept": "application/openmetrics-text"})
        assert openmetrics.body.endswith(b"# EOF\n")
        for path in PROBES:
            assert (await ask(address, "GET", path)).status == 200
        assert_problem(await ask(address, "POST", "/v1/drain"), 404, "/v1/drain")


async def test_an_address_that_is_taken_is_an_error_at_start(service: ServiceDouble) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        await serve_http(create_app(service, ()), "127.0.0.1", taken.getsockname()[1], shutdown=trio.Event())


async def test_ipv6_addresses_are_bound_too(service: ServiceDouble) -> None:
    shutdown = trio.Event()
    async with trio.open_nursery() as nursery:

        async def serve(*, task_status: trio.TaskStatus[Address]) -> None:
            await serve_http(create_app(service, ()), "::1", 0, shutdown=shutdown, task_status=task_status)

        host, port = await nursery.start(serve)
        assert host == "::1"
        assert (await ask((host, port), "POST", "/v1/drain")).status == 202
        shutdown.set()


async def test_idle_connections_do_not_hold_up_the_end(service: ServiceDouble) -> None:
    async with (
        serving(create_app(service, ())) as (address, shutdown),
        await trio.open_tcp_stream(*address) as silent,
        await trio.open_tcp_stream(*address) as kept,
    ):
        for _ in range(2):
            await kept.send_all(encode("GET", "/livez"))
            assert (await read_answer(kept)).status == 200
        begun = trio.current_time()
        shutdown.set()
        assert await kept.receive_some() == b""
        assert await silent.receive_some() == b""
        assert trio.current_time() - begun < GRACE_S / 2


async def test_half_a_request_holds_up_the_end_no_longer_than_the_grace(service: ServiceDouble) -> None:
    begun = 0.0
    async with serving(create_app(service, ())) as (address, shutdown):
        stream = await trio.open_tcp_stream(*address)
        await stream.send_all(b"POST /v1/drain HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\n{")
        await ask(address, "GET", "/livez")
        begun = trio.current_time()
        shutdown.set()
    assert trio.current_time() - begun < GRACE_S + 1
    await stream.aclose()


async def test_a_request_that_runs_is_answered_before_the_end() -> None:
    entered, go_on = trio.Event(), trio.Event()
    app = bare_app("test")

    @app.get("/slow")
    async def slow() -> str:
        entered.set()
        await go_on.wait()
        return "done"

    async with serving(app) as (address, shutdown), await trio.open_tcp_stream(*address) as stream:
        await stream.send_all(encode("GET", "/slow"))
        await entered.wait()
        shutdown.set()
        go_on.set()
        answer = await read_answer(stream)
    assert (answer.status, answer.body) == (200, b"done")


async def test_a_server_that_never_started_lets_go_of_its_port(
    service: ServiceDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = server._listen("127.0.0.1", 0)
    monkeypatch.setattr(server, "_listen", lambda _host, _port: listener)
    with trio.CancelScope() as scope:
        scope.cancel()
        await serve_http(create_app(service, ()), "127.0.0.1", 0, shutdown=trio.Event())
    assert listener.fileno() == -1


async def test_a_client_that_stops_reading_cannot_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_UNREAD_MS", 500)
    monkeypatch.setattr(server, "GRACE_S", 0.1)
    broken_off = False
    streams: list[trio.SocketStream] = []

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": bytes(1 << 20), "more_body": True})

    async def break_off() -> None:
        # No scope can end a shielded send: without this a failure would hang.
        nonlocal broken_off
        await trio.sleep(15)
        broken_off = True
        await streams[0].aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(break_off)
        async with serving(endless) as (address, shutdown):
            streams.append(await trio.open_tcp_stream(*address))
            await streams[0].send_all(encode("GET", "/"))
            assert (await streams[0].receive_some(12)).startswith(b"HTTP/1.1 200")
            shutdown.set()
        nursery.cancel_scope.cancel()
    await trio.aclose_forcefully(streams[0])
    assert not broken_off


async def test_a_cancelled_server_lets_go_of_its_port(service: ServiceDouble) -> None:
    async with serving(create_app(service, ())) as (address, _):
        async with trio.open_nursery() as nursery:

            async def serve(*, task_status: trio.TaskStatus[Address]) -> None:
                await serve_http(
                    create_app(service, ()), "127.0.0.1", 0, shutdown=trio.Event(), task_status=task_status
                )

            other = await nursery.start(serve)
            assert other != address
            nursery.cancel_scope.cancel()
        with pytest.raises(OSError, match="all attempts to connect"):
            await trio.open_tcp_stream(*other)
