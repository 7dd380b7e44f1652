"""Python looks for garbage seldom, and not at what is there for good."""

import subprocess
import sys

LOOKS = """
import gc
from pooler.ops.garbage import look_seldom
before = len(gc.get_objects())
look_seldom()
print(gc.get_freeze_count() > before // 2, len(gc.get_objects()) < before // 10)
print(gc.get_stats()[0]["collections"])
held = [[] for _ in range(15_000)]
print(gc.get_stats()[0]["collections"])
"""


def test_what_is_there_is_not_looked_at_again_and_the_rest_seldom() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOOKS], capture_output=True, text=True, timeout=60, check=True
    )
    first, before, after = done.stdout.splitlines()
    assert first == "True True"
    assert before == after
