"""For every test: Hypothesis counts no milliseconds, and the log of the process is nobody's to set up."""

from collections.abc import Iterator

import pytest
import structlog
from hypothesis import settings

# What stands before, such as Hypothesis's own choice under CI, is kept.
settings.register_profile("pooler", settings(), deadline=None)
settings.load_profile("pooler")

_AT_FIRST = structlog.get_config()["wrapper_class"]


@pytest.fixture(autouse=True)
def log_as_it_was() -> Iterator[None]:
    """Name the test that sets up the log: those after it could not capture what is logged."""
    yield
    if structlog.get_config()["wrapper_class"] is not _AT_FIRST:
        structlog.reset_defaults()
        pytest.fail("the log of the whole process was set up: reset it, or use a process of its own")
