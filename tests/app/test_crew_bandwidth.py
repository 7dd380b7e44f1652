"""What a configuration says of bandwidth and maintenance reaches those who obey it, and those who ask."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
import trio

from pooler.errors import ConfigError
from pooler.service import RunningService
from tests.app.test_crew_limits import REMOTE, configured, crew_of


async def test_bandwidths_and_windows(tmp_path: Path) -> None:
    text = (
        f"[a]\n{REMOTE}bandwidth = 10M\nmaintenance = daily 02:00-03:00 UTC\n[b]\n{REMOTE}bandwidth = off\n"
    )
    crew = crew_of(configured(tmp_path, text, "{bandwidth: 64M}"))
    service = RunningService({"a": "h", "b": "h"}, lambda: None)
    service.attach(None, crew)  # type: ignore[arg-type]
    remotes = crew.fleet.remotes
    assert crew.bandwidth.bytes_per_s == 64 * 1024**2
    assert [seen.bandwidth_bytes_per_s for seen in service.remotes()] == [10 * 1024**2, None]
    assert remotes["a"].policy.windows.closed_until(datetime(2024, 1, 1, 2, tzinfo=UTC)) is not None
    assert not remotes["b"].policy.windows
    remotes["a"].maintenance.until = datetime(2024, 1, 1, 3, tzinfo=UTC)
    remotes["b"].bandwidth.limit(1000)
    a, b = service.remotes()
    assert (a.maintenance_until, b.maintenance_until) == ("2024-01-01T03:00:00+00:00", None)
    assert b.bandwidth_bytes_per_s == 1000


@pytest.mark.parametrize("value", ["off", "false", "null"])
async def test_no_bandwidth_of_the_process(tmp_path: Path, value: str) -> None:
    await trio.lowlevel.checkpoint()
    assert crew_of(configured(tmp_path, "", f"{{bandwidth: {value}}}")).bandwidth.bytes_per_s is None


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        configured(
            tmp_path, f"[a]\n{REMOTE}bandwidth = 10\nmaintenance = Mon 02:00-04:30\n", "{bandwidth: 10}"
        )
    named = str(caught.value)
    assert "pool.bandwidth: " in named
    assert named.count("expected a size with its unit, such as 10M or 500B, or off, got '10'") == 2
    assert "a.maintenance: expected such as 'Mon-Fri 02:00-04:30 Asia/Seoul; " in named
