"""The page in Chromium: what its tests share. It takes the extra ``page``."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

# A machine that has other work to do may take long.
expect.set_options(timeout=30_000)

IMAGES = Path(__file__).parents[2] / "docs" / "images"


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the browser."""
    program = shutil.which("chromium")
    assert program is not None, "chromium is missing: python -m tests.support.install browser"
    with sync_playwright() as playwright:
        # In a container root has no sandbox to give; what is shown here is our own page alone.
        launched = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
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
    """Show a token, and wait until the page is live."""
    expect(page.get_by_label("Bearer token")).to_be_visible()
    page.get_by_label("Bearer token").fill(token)
    page.keyboard.press("Enter")
    expect(page.locator("#link")).to_have_text("live")


def shoot(page: Page, name: str) -> None:
    """Make a picture for the docs, where that is asked for."""
    if os.environ.get("POOLER_SCREENSHOTS"):
        IMAGES.mkdir(exist_ok=True)
        page.screenshot(path=IMAGES / f"{name}.png")
