"""Looks through a built site for what a browser would fetch from elsewhere: ``offline.py FOLDER``.

It needs nothing but Python, since the session that builds the site has little else.
"""

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

_LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "video": "src"}
_NAMED_ONLY = {"canonical", "next", "prev", "author", "license"}
"""Links that name a page and load nothing."""
_IN_STYLE = re.compile(r"""(?:url\(\s*|@import\s+)["']?((?:https?:)?//[^"')\s]+)""")


def foreign(folder: Path) -> Iterator[str]:
    """Tell what pages and styles would fetch from elsewhere, each with its file."""
    for path in sorted(folder.rglob("*.html")):
        reader = _Reader()
        reader.feed(path.read_text(encoding="utf-8"))
        yield from (f"{path.relative_to(folder)}: {address}" for address in reader.found)
    for path in sorted(folder.rglob("*.css")):
        text = path.read_text(encoding="utf-8")
        yield from (f"{path.relative_to(folder)}: {address}" for address in _IN_STYLE.findall(text))


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        address = given.get(_LOADED.get(tag, "")) or ""
        only_named = tag == "link" and _NAMED_ONLY & set((given.get("rel") or "").split())
        if re.match(r"(https?:)?//", address) and not only_named:
            self.found.append(address)


def main() -> int:
    """Look through the folder that is named."""
    folder = Path(sys.argv[1])
    pages = len(list(folder.rglob("*.html")))
    found = list(foreign(folder))
    for line in found:
        sys.stderr.write(f"fetched from elsewhere: {line}\n")
    sys.stdout.write(f"{pages} pages, {len(found)} things from elsewhere\n")
    return 1 if found or not pages else 0


if __name__ == "__main__":
    sys.exit(main())
