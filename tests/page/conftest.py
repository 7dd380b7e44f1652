"""These take the extra ``page``, a browser's driver and schemathesis; without it there are none of them."""

from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from tests.page.many import many
from tests.support.api import Served

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_NEEDED = ("playwright", "schemathesis", "axe_playwright_python")
collect_ignore_glob = [] if all(map(find_spec, _NEEDED)) else ["test_*.py"]


@pytest.fixture(scope="session")
def browser() -> "Iterator[Browser]":
    from tests.support.browsing import chromium  # noqa: PLC0415 - see above

    with chromium() as browser:
        yield browser


@pytest.fixture
def served() -> Iterator[Served]:
    with Served(many()) as served:
        yield served
