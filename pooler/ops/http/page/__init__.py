"""The live page: three files without a build step, and what serves them.

They hold nothing secret, so that anybody may load them; what they show comes from ``/v1/live``, which asks
for a token where there are any. The page is drawn from JSON with ``textContent`` alone, and its policy allows
no script and no style but its own.
"""

from importlib.resources import files
from typing import Final

from quart import Blueprint, Response
from quart_schema import hide

_FILES: Final = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
}
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def page() -> Blueprint:
    """Make the routes of the page."""
    routes = Blueprint("page", __name__)
    for path, (name, content_type) in _FILES.items():
        _serve(routes, path, name, content_type)
    return routes


def _serve(routes: Blueprint, path: str, name: str, content_type: str) -> None:
    body = files(__name__).joinpath(name).read_bytes()

    @routes.get(path, endpoint=name.replace(".", "_"))
    @hide
    async def send() -> Response:
        return Response(body, headers=_HEADERS, content_type=content_type)
