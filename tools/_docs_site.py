"""A hook of mkdocs: pages that lie outside of docs/ belong to the site, and links fit its places.

In the repository README, CONTRIBUTING and others stand where everybody looks for them, and link to
docs/ and back. The site is flat. What a page links to must be a page or a file of docs/; anything
else is a warning, which ``mkdocs build --strict`` takes for a failure.
"""

import logging
import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DOCS = "docs"
# Where in the site each page is that lies elsewhere in the repository.
OUTSIDE = {
    "README.md": "README.md",
    "certs/README.md": "certificates.md",
    "CHANGELOG.md": "changes.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "reporting.md",
}
_LINK = re.compile(r"\]\((?![a-z]+://|#)([^)#\s]+)(#[^)\s]*)?\)")
_FENCE = re.compile(r"(^ *```.*?^ *```$)", re.MULTILINE | re.DOTALL)
_log = logging.getLogger("mkdocs.plugins.penstock")


def place_of(page: str) -> str | None:
    """Where in the site a file of the repository is; None where it is not there."""
    if page in OUTSIDE:
        return OUTSIDE[page]
    return page.removeprefix(f"{DOCS}/") if page.startswith(f"{DOCS}/") else None


def relinked(text: str, page: str) -> str:
    """A page's text with links as they are in the site; ``page`` is its file in the repository."""

    def link(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(page), match[1]))
        place = place_of(target)
        if place is None:
            _log.warning("%s links to %s, which is not in the site", page, target)
        return f"]({place}{match[2] or ''})"

    # Every second part is code between fences.
    parts = _FENCE.split(text)
    parts[::2] = [_LINK.sub(link, part) for part in parts[::2]]
    return "".join(parts)


def on_files(files: Any, config: Any) -> Any:
    """Adds the pages from outside of docs/. Called by mkdocs."""
    from mkdocs.structure.files import File  # only where mkdocs runs this

    for page, place in OUTSIDE.items():
        files.append(File.generated(config, place, content=(ROOT / page).read_text()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Makes a page's links fit. Called by mkdocs."""
    place = page.file.src_uri
    sources = {where: name for name, where in OUTSIDE.items()}
    return relinked(markdown, sources.get(place, f"{DOCS}/{place}"))
