"""Whether every link, picture and anchor inside the built site leads somewhere. Usage: python check_links.py FOLDER

And whether the four things that people come for are found in two clicks, by what stands on the pages, without the menu.
"""

from __future__ import annotations

import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

#: How to run a model in water, what ``rule=`` means, why it is slow, what an error means.
SOUGHT = ("guides/in-water.html", "guides/rules.html", "guides/slow.html", "guides/troubleshooting.html")
CLICKS = 2


class Page(HTMLParser):
    """What a page links to and what can be linked to in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.clicks: list[str] = []  # links of the page itself
        self._inside = 0
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Collect what the tag says."""
        self._inside += tag == "article"
        for name, value in attributes:
            if name == "id" or (name == "name" and tag == "a"):
                self.anchors.add(value or "")
            elif name in ("href", "src") and value:
                self.links.append(value)
                if tag == "a" and self._inside:
                    self.clicks.append(value)

    def handle_endtag(self, tag: str) -> None:
        """Notice the end of what a reader reads."""
        self._inside -= tag == "article"


@cache
def read(path: Path) -> Page:
    """A page, read once."""
    return Page(path.read_text(encoding="utf-8"))


def broken(folder: Path) -> list[str]:
    """Links that lead nowhere, each with the page it is on."""
    found = []
    for path in sorted(folder.rglob("*.html")):
        for link in read(path).links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists():
                found.append(f"{path.relative_to(folder)}: {link}")
            elif parts.fragment and target.suffix == ".html" and unquote(parts.fragment) not in read(target).anchors:
                found.append(f"{path.relative_to(folder)}: {link} (no such anchor)")
    return found


def clicks_to(folder: Path, most: int) -> dict[str, int]:
    """Pages that are found from the front page, and in how many clicks."""
    found = {"index.html": 0}
    for clicks in range(1, most + 1):
        for page in [name for name, count in found.items() if count == clicks - 1]:
            for link in read(folder / page).clicks:
                target = ((folder / page).parent / unquote(urlsplit(link).path)).resolve()
                if not urlsplit(link).scheme and target.suffix == ".html" and target.is_relative_to(folder):
                    found.setdefault(str(target.relative_to(folder)), clicks)
    return found


if __name__ == "__main__":
    site = Path(sys.argv[1]).resolve()
    near = clicks_to(site, CLICKS)
    problems = [f"broken link: {problem}" for problem in broken(site)]
    problems += [f"not in {CLICKS} clicks of the front page: {page}" for page in SOUGHT if page not in near]
    sys.stderr.write("".join(f"{problem}\n" for problem in problems))
    sys.exit(bool(problems))
