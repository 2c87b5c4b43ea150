"""What is wrong with a built site: links and anchors that lead nowhere, and anything that a page fetches elsewhere."""

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

FETCHED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}


class Page(HTMLParser):
    """The links, the anchors and the fetched addresses of one page, with their lines."""

    def __init__(self, text):
        super().__init__()
        self.links, self.anchors, self.fetched = [], set(), []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        line = self.getpos()[0]
        self.anchors.update(filter(None, (given.get("id"), given.get("name"))))
        if tag == "a" and given.get("href"):
            self.links.append((given["href"], line))
        address = given.get(FETCHED.get(tag, ""))
        if address and not (tag == "link" and given.get("rel") in ("canonical", "next", "prev")):
            self.fetched.append((address, line))


def problems(site):
    """One line a problem, with file and line; external links are not followed."""
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(Path(site).rglob("*.html"))}
    return [
        f"{path.relative_to(site)}:{line}: {address} {why}"
        for path, page in pages.items()
        for address, line, why in (*_wrong_links(path, page, pages), *_foreign(page))
    ]


def _wrong_links(path, page, pages):
    for address, line in (*page.links, *page.fetched):
        url = urlsplit(address)
        if url.scheme or url.netloc:
            continue
        target = (path.parent / unquote(url.path)).resolve() if url.path else path
        target = target / "index.html" if target.is_dir() else target
        if not target.exists():
            yield address, line, "leads to no file"
        elif url.fragment and target in pages and unquote(url.fragment) not in pages[target].anchors:
            yield address, line, "leads to no anchor"


def _foreign(page):
    for address, line in page.fetched:
        if urlsplit(address).scheme in ("http", "https") or address.startswith("//"):
            yield address, line, "is fetched from elsewhere"
