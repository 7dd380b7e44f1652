"""One embedded FTP server, as a process of its own: ``python -m pooler.demo.ftpd``.

Only `pooler.demo.servers` starts it. The first line of its standard input says what to serve, as JSON; it
answers with a line once it listens, and ends when its standard input does: so it never outlives its parent,
however that ends.
"""

import json
import logging
import os
import sys
import threading
from typing import Any

from OpenSSL import SSL
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler, TLS_FTPHandler
from pyftpdlib.servers import FTPServer

_RIGHTS = "elradfmwMT"  # all there are


def main() -> None:
    """Serve until killed, or until nobody holds the other end of the standard input."""
    settings = json.loads(sys.stdin.buffer.readline())
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    server = FTPServer((settings["host"], settings["port"]), _handler(settings))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    server.serve_forever()


def _handler(settings: dict[str, Any]) -> type[FTPHandler]:
    """Make the class of the sessions: pyftpdlib reads settings off it."""
    authorizer = DummyAuthorizer()
    authorizer.add_user(settings["user"], settings["password"], settings["root"], perm=_RIGHTS)
    attributes: dict[str, Any] = {"authorizer": authorizer, "banner": "pooler demo"}
    if settings["certificate"] is None:
        return type("Handler", (FTPHandler,), attributes)
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.use_certificate_chain_file(settings["certificate"])
    context.use_privatekey_file(settings["certificate"])
    attributes |= {"ssl_context": context, "tls_control_required": True, "tls_data_required": True}
    return type("TlsHandler", (TLS_FTPHandler,), attributes)


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    main()
