"""pyftpdlib as a program of its own, for ``servers``: ``python -m tests.support.pyftpd '{"port": …}'``."""

import json
import logging
import sys
from typing import Any

from OpenSSL import SSL
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler, ThrottledDTPHandler, TLS_DTPHandler, TLS_FTPHandler
from pyftpdlib.servers import FTPServer

_VERSIONS = {"TLSv1.2": SSL.TLS1_2_VERSION, "TLSv1.3": SSL.TLS1_3_VERSION}


def main(settings: dict[str, Any]) -> None:
    """Serve one account until killed."""
    logging.basicConfig(level=logging.DEBUG, format="%(message)s")
    authorizer = DummyAuthorizer()
    authorizer.add_user(
        settings["user"],
        settings["password"],
        settings["root"],
        perm="elradfmwMT" if settings["writable"] else "elr",
    )
    attributes: dict[str, Any] = {"authorizer": authorizer, "timeout": settings["idle_s"] or 300}
    if settings["certificate"]:
        attributes |= {
            "certfile": settings["certificate"],
            "tls_control_required": True,
            "tls_data_required": True,
        }
    handler = type("Handler", (TLS_FTPHandler if settings["certificate"] else FTPHandler,), attributes)
    if settings["tls_version"]:
        context = handler.get_ssl_context()  # type: ignore[attr-defined]  # pyftpdlib ships no types
        context.set_min_proto_version(_VERSIONS[settings["tls_version"]])
        context.set_max_proto_version(_VERSIONS[settings["tls_version"]])
    if settings["rate_bytes_s"]:
        bases = (ThrottledDTPHandler, TLS_DTPHandler) if settings["certificate"] else (ThrottledDTPHandler,)
        # One that is reset as it is accepted is closed before it has a throttler: the server would die of it.
        limits = dict.fromkeys(("read_limit", "write_limit"), settings["rate_bytes_s"]) | {"_throttler": None}
        handler.dtp_handler = type("Throttled", bases, limits)  # type: ignore[attr-defined]  # as above
    server = FTPServer((settings["host"], settings["port"]), handler)
    # It counts its sockets: the listener is one.
    server.max_cons = settings["max_clients"] + 1 if settings["max_clients"] else 512
    server.max_cons_per_ip = settings["max_per_ip"] or 0
    server.serve_forever(handle_exit=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
