"""The page bears 200 remotes and a thousand events a second, and shows all pods, the silent ones by name."""

import re
from functools import partial

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.page.many import SICK, SILENT, alive, many, storm, three_pods, with_a_past
from tests.support.api import Served
from tests.support.browsing import log_in, opened, shoot

pytestmark = pytest.mark.page

JOBS = 5000
LONG_MS = 90_000


def nodes(page: Page) -> int:
    """Count what the page is made of."""
    return int(page.evaluate("() => document.querySelectorAll('*').length"))


def test_two_hundred_remotes_and_a_thousand_events_a_second(browser: Browser) -> None:
    service = many()
    with Served(service, beside=partial(storm, service, JOBS)) as served, opened(browser, served.url) as page:
        log_in(page, "operate-token")
        expect(page.locator("#remotes tbody tr")).to_have_count(200)
        # It can be used meanwhile.
        page.get_by_role("button", name=f"Pause {SICK}").click()
        expect(page.get_by_role("alert")).to_have_text(f"{SICK}: paused")
        page.get_by_label("Find").fill(SICK)
        expect(page.locator("#remotes tbody tr")).to_have_count(1)
        page.get_by_label("Find").fill("")
        expect(page.locator("#ended tbody tr")).to_have_count(50)
        before = nodes(page)
        # All of it has come at the end, and the newest first.
        expect(page.locator("#ended tbody tr").first).to_contain_text(f"job-{JOBS - 1}", timeout=LONG_MS)
        assert page.locator("#ended tbody td:nth-child(2)").all_text_contents() == [
            f"job-{JOBS - 1 - number}" for number in range(50)
        ]
        expect(page.locator("#failures tbody tr").first).to_contain_text(f"{JOBS // 100}")
        expect(page.locator("#strip")).to_contain_text("1.0 %")
        expect(page.locator("#running-count")).to_have_text("50 of 101")
        expect(page.locator("#running tbody tr")).to_have_count(50)
        expect(page.locator("#remotes tbody tr")).to_have_count(200)
        # No more of it than at the beginning, and far fewer looks than events.
        assert nodes(page) < before + 200
        assert service.told < JOBS // 10
        expect(page.locator("#link")).to_have_text("live")


def test_it_shows_all_pods_whichever_is_asked(browser: Browser) -> None:
    service = three_pods()
    beside = partial(alive, service)
    with Served(service, beside=beside) as served, opened(browser, served.url, dark=True) as page:
        log_in(page, "read-token")
        pods = page.locator("#pods tbody tr")
        expect(pods).to_have_count(3)
        expect(pods.nth(0)).to_contain_text("pooler-0 (this one)")
        expect(pods.nth(1)).to_contain_text("‖ draining")
        expect(pods.nth(2)).to_contain_text("▲ silent")
        strip = page.locator("#strip")
        expect(strip).to_contain_text("▲ 1 of 3 ready")
        expect(page.locator("#pods-trouble")).to_contain_text("pooler-1: ‖ draining")
        expect(page.locator("#pods-trouble")).to_contain_text(f"{SILENT}: ▲ silent")
        expect(page.locator("#running")).to_contain_text("theirs")
        remote = page.get_by_role("row", name="site-003")
        expect(remote).to_contain_text("2 busy, 2 idle")
        expect(remote).to_contain_text("14, 3.5 s")
        expect(strip).to_contain_text(re.compile(r"MB/s[1-9]"))
        shoot(page, "page-dark-wide")


def test_of_a_remote_it_shows_how_jobs_ended_of_late(browser: Browser) -> None:
    service = many()

    async def past() -> None:
        with_a_past(service)

    with Served(service, beside=past) as served, opened(browser, served.url) as page:
        log_in(page, "read-token")
        cells = page.locator("#remotes tbody tr", has_text="site-003").locator("td")
        points = cells.nth(5).locator("polyline").get_attribute("points")
        assert points is not None
        assert len(points.split()) == 59
        assert len({point.partition(",")[2] for point in points.split()}) > 2  # it is no straight line
        expect(cells.nth(5)).to_have_text(re.compile(r"^\d+\.\d$"))
        five_minutes, hour = cells.nth(6).inner_text(), cells.nth(7).inner_text()
        assert five_minutes.endswith(" %")
        assert 80 < float(five_minutes.removesuffix(" %")) < 95
        assert hour.endswith(" %")
        expect(cells.nth(8)).to_have_text(re.compile(r"^8\d ms$"))
        expect(page.locator("#remotes tbody tr").first.locator("td").nth(6)).to_have_text("0.0 %")
