"""These take the extra ``page``, a browser's driver and schemathesis; without it there are none of them."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("playwright") and find_spec("schemathesis") else ["test_*.py"]
