"""A small HTTP/1.1 client over a Trio socket, which leaves nothing between a test and the bytes."""

import json
from dataclasses import dataclass
from typing import Any

import trio

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Answer:
    """One response.

    Attributes:
        status: the three digits.
        headers: by lower-case name; of equal ones the last.
        body: as it came.
    """

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def encode(method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b"") -> bytes:
    """Write a request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


async def read_answer(stream: trio.abc.ReceiveStream) -> Answer:
    """Read one response that tells its length."""
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = await stream.receive_some()
        assert chunk, f"the connection ended within a response: {data!r}"
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    status_line, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(headers.get("content-length", "0")):
        chunk = await stream.receive_some()
        assert chunk, "the connection ended within a body"
        body += chunk
    return Answer(int(status_line.split(" ")[1]), headers, body)


async def ask(
    address: Address, method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b""
) -> Answer:
    """Send one request on a connection of its own."""
    async with await trio.open_tcp_stream(*address) as stream:
        await stream.send_all(encode(method, path, headers, body))
        return await read_answer(stream)
