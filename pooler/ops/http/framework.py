"""What both applications have in common: Quart-Trio without its extras, errors as problems, our log."""

from types import TracebackType
from typing import Final

import structlog
from quart import has_request_context, request
from quart_trio import QuartTrio

from pooler.ops.http.problems import answer_with_problems

log = structlog.get_logger()

MAX_BODY_BYTES: Final = 1024 * 1024
"""A thousand jobs fit in; no other route takes a body worth the name."""


class _App(QuartTrio):
    """Quart-Trio, logging through structlog."""

    def log_exception(
        self,
        exception_info: tuple[type, BaseException, TracebackType] | tuple[None, None, None],
    ) -> None:
        where = {"method": request.method, "path": request.path} if has_request_context() else {}
        log.error("api_failed", exc_info=exception_info, **where)


def bare_app(name: str) -> QuartTrio:
    """Make an application without static files or routes.

    Args:
        name: names it in messages.
    """
    app = _App(name, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.url_map.strict_slashes = False
    answer_with_problems(app)
    return app
