"""What aiokafka leaves open itself is no failure of whichever test runs when Python finds it.

Closed while it is making a connection to a broker that does not answer, a client of aiokafka's forgets that
one. Its loop is gone by then, and the garbage collector tells of it later, in a test that has nothing to do
with it.
"""

from pathlib import Path

import pytest

_ITS_OWN = (
    "ignore:Unclosed AIOKafkaConnection:ResourceWarning",
    "ignore:unclosed transport <_SelectorSocketTransport:ResourceWarning",
    "ignore:unclosed <socket.socket:ResourceWarning",
    "ignore:loop is closed:ResourceWarning",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the tests of this folder pass these by."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            for warning in _ITS_OWN:
                item.add_marker(pytest.mark.filterwarnings(warning))
