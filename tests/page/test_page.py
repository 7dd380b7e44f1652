"""The page in a real browser (Chromium), on a real service: the demo, and on 200 remotes that are made up.

The screenshots in docs/images are made by ``POOLER_SCREENSHOTS=1 nox -s page``.
"""

import os
import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.demo.test_demo_whole import read_to, running
from tests.support.api import Served
from tests.support.service_double import RUNNING, ServiceDouble

pytestmark = pytest.mark.page

IMAGES = Path(__file__).parents[2] / "docs" / "images"
XSS = '<img src=x onerror="document.title=1">'


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    assert chromium is not None, "chromium is missing: python -m tests.support.install browser"
    with sync_playwright() as playwright:
        # In a container root has no sandbox to give; what is shown here is our own page alone.
        launched = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield launched
        launched.close()


@contextmanager
def opened(browser: Browser, url: str, *, dark: bool = False, width: int = 1400) -> Iterator[Page]:
    """Open the page; whatever it complains of fails the test."""
    page = browser.new_page(
        viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light"
    )
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if "policy" in message.text else None)
    page.goto(url)
    try:
        yield page
    finally:
        page.close()
    assert wrong == []


def log_in(page: Page, token: str) -> None:
    expect(page.get_by_label("Bearer token")).to_be_visible()
    page.get_by_label("Bearer token").fill(token)
    page.keyboard.press("Enter")
    expect(page.locator("#link")).to_have_text("live")


def shoot(page: Page, name: str) -> None:
    """Make a picture for the docs, where that is asked for."""
    if os.environ.get("POOLER_SCREENSHOTS"):
        IMAGES.mkdir(exist_ok=True)
        page.screenshot(path=IMAGES / f"{name}.png")


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
            expect(first).to_contain_text(re.compile("site-b.*▲ (away|on trial)"), timeout=30_000)
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


def many(remotes: int = 200) -> ServiceDouble:
    """Make a service with many remotes, of which one is away, and one has a name that is no name."""
    service = ServiceDouble()
    well, away = service.remotes()
    service.have_remotes(
        *(
            replace(well, name=f"site-{number:03}", host=f"ftp{number}.example.com")
            for number in range(remotes - 2)
        ),
        replace(away, name="plant-7", last_error="530 Login incorrect."),
        replace(well, name=XSS, last_error=XSS),
    )
    service.in_hand = [RUNNING, replace(RUNNING, task_id=XSS, origin="ftp-tasks-0-8")]
    return service


@pytest.fixture
def served() -> Iterator[Served]:
    with Served(many()) as served:
        yield served


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
        expect(page.locator("#link")).to_have_text("no connection", timeout=15_000)
        expect(page.locator("#updated")).to_contain_text("updated")
        served.service.broken = None
        expect(page.locator("#link")).to_have_text("live", timeout=15_000)


def test_focus_stays_where_it_is_while_rows_change(browser: Browser, served: Served) -> None:
    with opened(browser, served.url) as page:
        log_in(page, "read-token")
        button = page.get_by_role("button", name="Pause site-100")
        button.focus()
        updates = page.evaluate(
            """() => new Promise((resolve) => {
                let seen = 0;
                new MutationObserver(() => { if (++seen > 3) resolve(seen); }).observe(
                    document.querySelector("#remotes tbody"), {subtree: true, attributes: true});
            })"""
        )
        assert updates > 3
        expect(button).to_be_focused()


def test_every_button_and_input_has_a_name(browser: Browser, served: Served) -> None:
    with opened(browser, served.url) as page:
        log_in(page, "read-token")
        expect(page.locator("#remotes tbody tr")).to_have_count(200)
        nameless = page.evaluate(
            """() => [...document.querySelectorAll("button, input")].filter((one) =>
                !(one.getAttribute("aria-label") || one.textContent.trim() || one.labels?.length)).length"""
        )
        assert nameless == 0
        assert page.get_by_role("table").count() >= 6


@pytest.mark.parametrize(("dark", "width"), [(True, 1400), (False, 390), (True, 390)])
def test_dark_and_narrow_it_is_as_good(browser: Browser, served: Served, *, dark: bool, width: int) -> None:
    with opened(browser, served.url, dark=dark, width=width) as page:
        log_in(page, "read-token")
        expect(page.locator("#remotes tbody tr")).to_have_count(200)
        ground, ink = page.evaluate(
            "() => [getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
        )
        assert contrast(ground, ink) > 7
        # Nothing is pushed out of sight: the page itself never scrolls sideways.
        assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
        page.get_by_label("only those in trouble").check()
        shoot(page, f"page-{'dark' if dark else 'light'}-{'wide' if width > 1000 else 'narrow'}")


def contrast(one: str, other: str) -> float:
    """Tell the contrast of two colours (WCAG 2.2, contrast ratio)."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    channels = [int(number) / 255 for number in re.findall(r"\d+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
