"""Whole files over a session, from and to memory."""

from pooler.transfer.session import Session


async def fetch(session: Session, path: str) -> bytes:
    content, buffer = bytearray(), memoryview(bytearray(65536))
    async with session.retrieving(path) as stream:
        while count := await stream.receive_into(buffer):
            content += buffer[:count]
    return bytes(content)


async def store(session: Session, path: str, content: bytes) -> None:
    async with session.storing(path) as stream:
        await stream.send_all(memoryview(content))
