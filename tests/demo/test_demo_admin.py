import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
import trio

from pooler.app import Addresses
from pooler.demo.admin import Admin
from pooler.demo.errors import DemoFailed

METRICS = """\
# TYPE pooler_retries counter
pooler_retries_total{remote="site-a",reason="connection_error"} 3.0
pooler_retries_total{remote="site-b",reason="connection_error"} 4.0
# TYPE pooler_jobs counter
pooler_jobs_total{remote="site-b"} 9.0
"""


NOBODY = Admin(Addresses("http://127.0.0.1:1", "http://127.0.0.1:1"), "token")


class Service(BaseHTTPRequestHandler):
    def answer(self) -> None:
        bodies = {
            ("GET", "/v1/status"): json.dumps({"ready": True}),
            ("GET", "/v1/remotes"): json.dumps({"remotes": [{"name": "site-a"}]}),
            ("GET", "/metrics"): METRICS,
        }
        body = bodies.get((self.command, self.path))
        if self.path.startswith("/v1/") and self.headers["Authorization"] != "Bearer token":
            body = None
        self.send_response(403 if body is None else 200)
        self.end_headers()
        self.wfile.write((body or "no").encode())

    do_GET = do_POST = answer  # noqa: N815 - the library's names

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def admin() -> Iterator[Admin]:
    with HTTPServer(("127.0.0.1", 0), Service) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        yield Admin(Addresses(url, url), "token")
        server.shutdown()
        thread.join()


async def test_it_reads_what_the_service_says(admin: Admin) -> None:
    assert await admin.is_ready()
    assert await admin.remotes() == [{"name": "site-a"}]
    assert await admin.retried() == 7


async def test_a_refusal_is_told(admin: Admin) -> None:
    with pytest.raises(DemoFailed, match=r"POST http://127.0.0.1:\d+/v1/drain: 403 no"):
        await admin.drain()


async def test_nobody_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pooler.demo.admin._ENDS_S", 0)
    with pytest.raises(DemoFailed, match="ConnectionRefusedError"):
        await NOBODY.is_ready()


async def test_a_service_that_is_about_to_end_is_no_failure() -> None:
    with trio.move_on_after(0.2) as plot:
        await NOBODY.is_ready()
    assert plot.cancelled_caught
