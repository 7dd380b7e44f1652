"""``pooler openapi``: the document of the admin API, without a service."""

import json

from pooler import schemas


async def openapi() -> None:
    """Print the OpenAPI 3.1 document of the admin API, as ``/v1/openapi.json`` has it."""
    print(json.dumps(await schemas.openapi(), indent=2))
