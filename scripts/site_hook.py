"""What mkdocs.yml can't say: documents of the repository's root are pages of the site too.

A link to one of them leads to its page. A link to any other file outside of docs/ becomes its text: the
site has no such file.
"""

import posixpath
import re

from mkdocs.structure.files import File

PAGES = {
    "CHANGELOG.md": "project/changelog.md",
    "SECURITY.md": "project/security.md",
    "ARCHITECTURE.md": "project/architecture.md",
    "CONTRIBUTING.md": "project/contributing.md",
}
LINK = re.compile(r"\[([^\]]+)\]\(([^)\s:#]+)(#[^)\s]*)?\)")


def on_files(files, config):
    """Add the root's documents."""
    for source, page in PAGES.items():
        with open(source, encoding="utf-8") as file:
            files.append(File.generated(config, page, content=file.read()))
    return files


def on_page_markdown(markdown, page, **_):
    """Have links lead where they lead in the repository."""
    own = page.file.src_uri
    sources = {to: source for source, to in PAGES.items()}
    root_file = sources.get(own)
    here = posixpath.dirname(own)

    def lead(match):
        text, target, anchor = match[1], match[2], match[3] or ""
        # Where the link leads, seen from the repository's root.
        base = "" if root_file else posixpath.join("docs", here)
        path = posixpath.normpath(posixpath.join(base, target))
        if path in PAGES:
            to = PAGES[path]
        elif path.startswith("docs/") and not target.endswith("/"):
            to = path.removeprefix("docs/")
        else:
            return text
        return f"[{text}]({posixpath.relpath(to, here or '.')}{anchor})"

    return LINK.sub(lead, markdown)
