"""Check the built pages without a network: every link leads somewhere, and nothing is fetched.

    python book/tools/links.py _build/html

A link to another page, picture or script must lead to a file, and one with a fragment
to an element with that id. A link that a reader may click can lead out into the web,
and is not followed; whatever a page loads by itself must be among its files.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


@dataclass
class Page:
    """What one HTML page refers to, and what in it can be referred to."""

    links: list[str] = field(default_factory=list)  # followed when clicked
    loads: list[str] = field(default_factory=list)  # fetched by the browser by itself
    ids: set[str] = field(default_factory=set)


class _Reader(HTMLParser):
    """Fills a `Page`."""

    def __init__(self) -> None:
        super().__init__()
        self.page = Page()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what the tag refers to and the id that it has."""
        values = {name: value for name, value in attrs if value is not None}
        if "id" in values:
            self.page.ids.add(values["id"])
        if "src" in values:
            self.page.loads.append(values["src"])
        if "href" in values:
            where = self.page.loads if tag == "link" else self.page.links
            where.append(values["href"])


def read(path: Path) -> Page:
    """The links and ids of the page at ``path``."""
    reader = _Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    return reader.page


def check(folder: Path) -> Iterator[str]:
    """Complaints about the pages below ``folder``, one line each."""
    root = folder.resolve()
    pages = {path: read(path) for path in sorted(root.rglob("*.html"))}
    for path, page in pages.items():
        name = path.relative_to(root)
        if name.parts[0] == "_static":  # the theme leaves templates there
            continue
        for url in sorted({*page.links, *page.loads}):
            if not _is_local(url):
                if url in page.loads and not url.startswith("data:"):
                    yield f"{name} loads {url}: ship it instead"
            elif not _leads_somewhere(url, path, pages):
                yield f"{name} refers to {url}: there is no such thing"


def _is_local(url: str) -> bool:
    """Whether the link stays within the book; ``//host/path`` does not."""
    parts = urlsplit(url)
    return not parts.scheme and not parts.netloc


def _leads_somewhere(url: str, origin: Path, pages: dict[Path, Page]) -> bool:
    """Whether the file that a link on the page ``origin`` names exists, with its fragment."""
    parts = urlsplit(url)
    target = (origin.parent / unquote(parts.path)).resolve() if parts.path else origin
    if target.is_dir():
        target /= "index.html"
    if not target.is_file():
        return False
    fragment = unquote(parts.fragment)
    return not fragment or target not in pages or fragment in pages[target].ids


def main(arguments: list[str]) -> int:
    """Check the folder given; the exit status is 1 if there were complaints."""
    (folder,) = map(Path, arguments)
    if not list(folder.rglob("*.html")):
        print(f"{folder} has no pages; build the book first")
        return 1
    complaints = list(check(folder))
    print(*complaints or [f"every link below {folder} leads somewhere"], sep="\n")
    return bool(complaints)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
