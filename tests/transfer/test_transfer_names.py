import pytest
from hypothesis import given
from hypothesis import strategies as st

from pooler.model.job import Origin
from pooler.transfer.names import incarnation, temporary_name

ORIGINS = st.builds(Origin, st.text(max_size=249), st.integers(0, 2**31 - 1), st.integers(0, 2**63 - 1))


@given(ORIGINS, st.integers(1, 10**6))
def test_it_is_short_plain_and_hidden(origin: Origin, attempt: int) -> None:
    name = temporary_name(origin, attempt, incarnation())
    assert name.isascii()
    assert name.isprintable()
    assert len(name) <= 64
    assert name.startswith(".pooler-")
    assert name.endswith(".part")
    assert not set(name) & set("/\\ \"'*?[]{}~:;&|<>$")


@given(ORIGINS, ORIGINS, st.integers(1, 99), st.integers(1, 99))
def test_only_the_same_attempt_at_the_same_job_has_the_same_name(
    one: Origin, other: Origin, first: int, second: int
) -> None:
    names = temporary_name(one, first, "aa") == temporary_name(other, second, "aa")
    assert names == ((one, first) == (other, second))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Origin("a", 1, 2), Origin("a-1", 2, 2)),
        (Origin("a-1", 2, 3), Origin("a", 12, 3)),
        (Origin("t", 1, 23), Origin("t", 12, 3)),
    ],
)
def test_origins_that_look_alike(one: Origin, other: Origin) -> None:
    assert temporary_name(one, 1, "aa") != temporary_name(other, 1, "aa")


def test_each_process_has_its_own() -> None:
    assert len({incarnation() for _ in range(100)}) == 100
    assert temporary_name(Origin("t", 0, 0), 1, "aa") != temporary_name(Origin("t", 0, 0), 1, "ab")
