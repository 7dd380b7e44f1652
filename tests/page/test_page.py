"""The page in a real browser (Chromium), on a real service: the demo, and on 200 remotes that are made up.

The screenshots in docs/images are made by ``POOLER_SCREENSHOTS=1 nox -s page``.
"""

import re
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.demo.test_demo_whole import read_to, running
from tests.page.many import XSS
from tests.support.api import Served
from tests.support.browsing import log_in, opened, shoot

pytestmark = pytest.mark.page


def test_a_person_finds_the_sick_remote_of_the_demo_pauses_and_resumes_it(
    browser: Browser, tmp_path: Path
) -> None:
    with running(tmp_path, "--files", "400", "--keep") as process:
        told = read_to(process, "^page ")
        where = re.search(r"^page +(http://\S+/), token (\w+)$", told, re.MULTILINE)
        assert where is not None, told
        with opened(browser, where[1]) as page:
            log_in(page, where[2])
            first = page.locator("#remotes tbody tr").first
            expect(first).to_contain_text(re.compile("site-b.*▲ (away|on trial)"))
            shoot(page, "page")
            page.get_by_role("button", name="Pause site-b").click()
            expect(page.get_by_role("alert")).to_have_text("site-b: paused")
            page.keyboard.press("/")
            page.keyboard.type("site-b")
            expect(page.locator("#remotes tbody tr")).to_have_count(1)
            expect(first).to_contain_text("‖ paused")
            read_to(process, "started again")
            page.get_by_role("button", name="Resume site-b").click()
            expect(first).to_contain_text("✓ well")
            assert "all right" in read_to(process, "^submit ")
            expect(page.locator("#ended tbody tr")).to_have_count(50)
            expect(page.locator("#strip")).to_contain_text("✓ ready")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


def test_of_two_hundred_remotes_the_sick_one_comes_first(browser: Browser, served: Served) -> None:
    with opened(browser, served.url) as page:
        log_in(page, "operate-token")
        first = page.locator("#remotes tbody tr").first
        expect(page.locator("#remotes tbody tr")).to_have_count(200)
        expect(first).to_contain_text("plant-7")
        expect(first).to_contain_text("▲ away, next try in")
        expect(first).to_contain_text("530 Login incorrect.")
        expect(page.locator("#remotes-count")).to_have_text("200 of 200, 1 in trouble")
        page.get_by_label("only those in trouble").check()
        expect(page.locator("#remotes tbody tr")).to_have_count(1)


def test_names_are_text_whatever_they_hold(browser: Browser, served: Served) -> None:
    with opened(browser, served.url) as page:
        log_in(page, "operate-token")
        expect(page.locator("#remotes")).to_contain_text(XSS)
        expect(page.locator("#running")).to_contain_text(XSS)
        assert page.title() == "pooler"
        assert page.locator("img").count() == 0


def test_a_running_transfer_is_cancelled(browser: Browser, served: Served) -> None:
    with opened(browser, served.url) as page:
        log_in(page, "operate-token")
        page.get_by_role("button", name="Cancel task-1").click()
        expect(page.get_by_role("alert")).to_have_text("task-1: being cancelled")
        expect(page.locator("#running")).to_contain_text("being cancelled")
    assert served.service.calls == [("cancel", "task-1", "cancelled by operate-name: from the page")]


def test_a_remote_is_tried_out(browser: Browser, served: Served) -> None:
    with opened(browser, served.url) as page:
        log_in(page, "operate-token")
        page.get_by_role("button", name="Probe plant-7").click()
        expect(page.get_by_role("alert")).to_have_text("plant-7: answers in 0.3 s, 192.0.2.1:21")
    assert served.service.calls == [("probe", "plant-7")]


def test_a_remote_that_fails_when_it_is_tried_out_says_why(browser: Browser, served: Served) -> None:
    served.service.probed = replace(
        served.service.probed,
        ok=False,
        error_code="LOGIN_REFUSED",
        error="not let in",
        dialogue=("< 530 no",),
    )
    with opened(browser, served.url) as page:
        log_in(page, "operate-token")
        page.get_by_role("button", name="Probe plant-7").click()
        expect(page.get_by_role("alert")).to_have_text("plant-7: LOGIN_REFUSED: not let in — < 530 no")


def test_a_token_that_does_not_allow_it_is_told(browser: Browser, served: Served) -> None:
    with opened(browser, served.url) as page:
        log_in(page, "read-token")
        page.get_by_role("button", name="Pause plant-7").click()
        expect(page.get_by_role("alert")).to_contain_text("Not done: This token does not allow it")
        expect(page.get_by_label("Bearer token")).to_be_visible()
    assert served.service.calls == []


def test_a_wrong_token_shows_nothing(browser: Browser, served: Served) -> None:
    with opened(browser, served.url) as page:
        page.get_by_label("Bearer token").fill("wrong")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("asks for a token")
        expect(page.locator("#link")).to_have_text("no connection")
        expect(page.locator("#remotes tbody tr")).to_have_count(0)


def test_a_lost_connection_is_in_sight_and_comes_back(browser: Browser, served: Served) -> None:
    with opened(browser, served.url) as page:
        log_in(page, "read-token")
        served.service.broken = RuntimeError("the stream breaks off")
        expect(page.locator("#link")).to_have_text("no connection")
        expect(page.locator("#updated")).to_contain_text("updated")
        served.service.broken = None
        expect(page.locator("#link")).to_have_text("live")
