"""Hooks of the site: pages that live elsewhere in the repository, and links that lead out of `docs/`."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
PAGES = {"tables.md": "data/README.md", "benchmarks.md": "benchmarks/README.md"}  # page of the site -> its file
_LINK = re.compile(r"\[([^\]]+)\]\((?!https?:|#)([^)\s]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that live elsewhere."""
    for page, source in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links to files of the repository into links of the site; where the site has no such page, into text."""
    del config, files
    folder = Path(PAGES.get(page.file.src_uri, f"docs/{page.file.src_uri}")).parent
    here = Path(page.file.src_uri).parent
    return _LINK.sub(lambda link: _of_site(link, folder, here), markdown)


def _of_site(link: re.Match[str], folder: Path, here: Path) -> str:
    text, target = link[1], link[2]
    path, _, anchor = target.partition("#")
    place = (ROOT / folder / path).resolve().relative_to(ROOT).as_posix()
    inside = {source: name for name, source in PAGES.items()}.get(place) or place.removeprefix("docs/")
    if inside == place:
        return target_text(text, place)
    up = "../" * len(here.parts)
    return f"[{text}]({up}{inside}{'#' if anchor else ''}{anchor})"


def target_text(text: str, place: str) -> str:
    """What is said in place of a link to a file that the site does not have."""
    return text if text == place else f"{text} (`{place}`)"
