"""The admin API holds what its OpenAPI document says, whatever it is asked, with tokens and without."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance

from tests.support.api import TOKENS, Served
from tests.support.service_double import ServiceDouble

pytestmark = pytest.mark.page

DOCUMENT = json.loads(subprocess.check_output([sys.executable, "-m", "pooler", "openapi"]))
SCHEMA: Any = schemathesis.openapi.from_dict(DOCUMENT)
OPERATIONS = [found.ok() for found in SCHEMA.get_all_operations()]

NOT_MEANT = [
    ignored_auth,  # without tokens everybody may read, whatever they show
    positive_data_acceptance,  # of two fields that may be left out one has to be there
]


@pytest.fixture(params=["admin-token", "read-token", "wrong-token", None], scope="module")
def asked(request: pytest.FixtureRequest) -> Iterator[tuple[Served, dict[str, str]]]:
    """Serve the API, with tokens where one is shown; gives what is sent along."""
    token = request.param
    with Served(ServiceDouble(), () if token is None else TOKENS) as served:
        yield served, {} if token is None else {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
def test_it_answers_as_documented(operation: Any, asked: tuple[Served, dict[str, str]]) -> None:
    served, headers = asked

    @given(case=operation.as_strategy())
    @settings(
        max_examples=15, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    def check(case: Any) -> None:
        case.call_and_validate(base_url=served.url, headers=headers, excluded_checks=NOT_MEANT)

    check()


def test_there_is_something_to_ask() -> None:
    assert len(OPERATIONS) >= 24
