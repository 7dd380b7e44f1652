"""The page by the keyboard, for a screen reader, in the dark, and on a narrow screen.

The screenshots in docs/images are made by ``POOLER_SCREENSHOTS=1 nox -s page``.
"""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.page.many import SICK, many
from tests.support.api import Served
from tests.support.browsing import log_in, opened, shoot
from tests.support.service_double import ServiceDouble

pytestmark = pytest.mark.page

NARROW = 320
"""As of a screen that is enlarged fourfold (WCAG 2.2, 1.4.10)."""


def wait_for_updates(page: Page, updates: int) -> int:
    """Wait until the page was drawn anew so often; tell how often a screen reader was spoken to meanwhile."""
    return int(
        page.evaluate(
            """(updates) => new Promise((resolve) => {
                let spoken = 0, seen = 0;
                const all = {subtree: true, childList: true, characterData: true, attributes: true};
                const live = new MutationObserver((changes) => { spoken += changes.length; });
                for (const node of document.querySelectorAll("[role=alert], [role=log], [aria-live]"))
                    live.observe(node, all);
                new MutationObserver(() => { if (++seen >= updates) resolve(spoken); })
                    .observe(document.querySelector("#remotes tbody"), all);
            })""",
            updates,
        )
    )


def test_by_the_keyboard_alone_a_remote_is_paused_and_resumed(browser: Browser, served: Served) -> None:
    with opened(browser, served.url) as page:
        log_in(page, "operate-token")
        expect(page.locator("#remotes tbody tr")).to_have_count(200)
        page.keyboard.press("/")
        expect(page.get_by_label("Find")).to_be_focused()
        page.keyboard.type(SICK)
        expect(page.locator("#remotes tbody tr")).to_have_count(1)
        page.keyboard.press("Tab")
        expect(page.get_by_label("only those in trouble")).to_be_focused()
        page.keyboard.press("Tab")
        expect(page.get_by_role("button", name=f"Pause {SICK}")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_have_text(f"{SICK}: paused")
        # The same button, and still under the finger.
        expect(page.get_by_role("button", name=f"Resume {SICK}")).to_be_focused()
        page.keyboard.press("Space")
        expect(page.get_by_role("alert")).to_have_text(f"{SICK}: resumed")
    verbs = [(call[0], call[2]) for call in served.service.calls]
    assert verbs == [("work", "pause"), ("work", "run")]


def test_the_first_stop_leads_past_all_else(browser: Browser) -> None:
    with Served(many(), ()) as served, opened(browser, served.url) as page:
        expect(page.locator("#remotes tbody tr")).to_have_count(200)
        page.keyboard.press("Tab")
        skip = page.get_by_role("link", name="To the remotes")
        expect(skip).to_be_focused()
        expect(skip).to_be_in_viewport()
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        expect(page.get_by_role("button", name=f"Pause {SICK}")).to_be_focused()


def test_focus_goes_along_with_a_row_that_moves(browser: Browser, served: Served) -> None:
    with opened(browser, served.url) as page:
        log_in(page, "operate-token")
        button = page.get_by_role("button", name=re.compile("(Pause|Resume) site-150"))
        button.focus()
        page.keyboard.press("Enter")
        expect(page.locator("#remotes tbody tr").nth(1)).to_contain_text("site-150")  # it was far below
        expect(button).to_be_focused()


def test_what_changes_all_the_time_is_not_spoken(browser: Browser, served: Served) -> None:
    with opened(browser, served.url) as page:
        log_in(page, "operate-token")
        button = page.get_by_role("button", name="Pause site-100")
        button.focus()
        assert wait_for_updates(page, 3) == 0
        expect(button).to_be_focused()
        # What was done is spoken, and whether it is live: not how old the picture is, which always changes.
        expect(page.get_by_role("status")).to_have_text("live")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_have_text("site-100: paused")


def test_every_table_and_section_has_a_name(browser: Browser, served: Served) -> None:
    with opened(browser, served.url) as page:
        log_in(page, "read-token")
        expect(page.locator("#remotes tbody tr")).to_have_count(200)
        for name in (
            "Remotes",
            "Running transfers",
            "Why jobs fail",
            "Latest answers",
            "Partitions",
            "Local folders",
        ):
            expect(page.get_by_role("table", name=re.compile(f"^{name}"))).to_be_visible()
            expect(page.get_by_role("region", name=re.compile(f"^{name}"))).to_be_visible()


def test_on_a_narrow_screen_a_table_is_still_one_to_a_screen_reader(browser: Browser) -> None:
    with Served(ServiceDouble()) as served, opened(browser, served.url, width=NARROW) as page:
        log_in(page, "read-token")
        expect(page.locator("#remotes tbody tr")).to_have_count(2)
        found = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
        roles = [node["role"]["value"] for node in found if not node["ignored"]]
        assert roles.count("table") == 7
        assert roles.count("columnheader") == page.locator("th:visible").count() > 30
        assert roles.count("cell") >= 2 * 11


@pytest.mark.parametrize("width", [1400, NARROW])
@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_nothing(browser: Browser, *, dark: bool, width: int) -> None:
    with Served(ServiceDouble()) as served, opened(browser, served.url, dark=dark, width=width) as page:
        log_in(page, "read-token")
        expect(page.locator("#remotes tbody tr")).to_have_count(2)
        page.get_by_role("button", name="Pause site-b").click()  # so that a refusal and the form are in sight
        expect(page.get_by_role("alert")).to_contain_text("Not done")
        found = Axe().run(page).response["violations"]
        told = [(one["id"], [node["failureSummary"] for node in one["nodes"]]) for one in found]
        assert not told, told


@pytest.mark.parametrize(("dark", "width"), [(True, 1400), (False, 390), (True, NARROW)])
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
        expect(page.locator("#remotes tbody tr")).to_have_count(1)
        if not dark:
            shoot(page, "page-light-narrow")


def contrast(one: str, other: str) -> float:
    """Tell the contrast of two colours (WCAG 2.2, contrast ratio)."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    channels = [int(number) / 255 for number in re.findall(r"\d+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
