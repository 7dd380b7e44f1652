"""The metrics, on a port of their own, with the probes beside them."""

from quart import Response, request
from quart_trio import QuartTrio

from pooler.ops.http.framework import bare_app
from pooler.ops.http.probes import probes
from pooler.ops.http.service import Service
from pooler.ops.metrics import Metrics


def create_metrics_app(service: Service, metrics: Metrics) -> QuartTrio:
    """Make the application that Prometheus scrapes at ``/metrics``.

    Args:
        service: the running service, for the probes.
        metrics: what is served.
    """
    app = bare_app("pooler.metrics")
    app.register_blueprint(probes(service))

    @app.get("/metrics")
    async def exposition() -> Response:
        body, content_type = metrics.exposition(request.headers.get("Accept", ""))
        return Response(body, content_type=content_type)

    return app
