"""The client brings nothing of the service with it."""

import subprocess
import sys

OF_THE_SERVICE = (
    "aiokafka",
    "asyncio",
    "trio_asyncio",
    "quart",
    "prometheus_client",
    "pydantic",
    "structlog",
)


def test_the_client_is_imported_without_the_service() -> None:
    code = (
        "import sys; from pooler.ftp.connector import FtpConnector; from pooler.ftp.profile import Profile; "
        "print(*sorted({name.partition('.')[0] for name in sys.modules}), "
        "*sorted(name for name in sys.modules if name.startswith('pooler.')))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    loaded = set(printed.stdout.split())
    assert {"trio", "pooler.ftp.connector"} <= loaded
    assert not loaded & set(OF_THE_SERVICE)
    ours = {name for name in loaded if name.startswith("pooler.") and not name.startswith("pooler.ftp")}
    assert {name.split(".")[1] for name in ours} <= {"errors", "model", "transfer"}
