"""``pooler openapi``: the document of the admin API, without a service."""

import json
from typing import cast

from pooler.ops.http.app import create_app
from pooler.ops.http.auth import Guard
from pooler.ops.http.service import Service


async def openapi() -> None:
    """Print the OpenAPI 3.1 document of the admin API, as ``/v1/openapi.json`` has it."""
    # The document is made of the routes alone.
    client = create_app(cast("Service", None), guard=Guard(())).test_client()
    answer = await client.get("/v1/openapi.json")
    print(json.dumps(await answer.get_json(), indent=2))
