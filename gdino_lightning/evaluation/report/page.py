"""The page of a report: text, tables and pictures as plain data, made into one HTML file that needs no other."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field

from jinja2 import Environment, PackageLoader, StrictUndefined


@dataclass(frozen=True)
class Picture:
    """A picture in the page.

    Attributes:
        name: What it is called as a file of its own.
        data: The file, PNG or JPEG.
        alt: What it shows, for those who cannot see it.
        caption: The text below it.
    """

    name: str
    data: bytes
    alt: str
    caption: str = ""

    @property
    def uri(self) -> str:
        """The picture as a data URI."""
        kind = "png" if self.data.startswith(b"\x89PNG") else "jpeg"
        return f"data:image/{kind};base64,{base64.b64encode(self.data).decode()}"


@dataclass(frozen=True)
class Table:
    """A table of texts; the first cell of a row names it.

    Attributes:
        caption: What it holds.
        header: Names of the columns.
        rows: Cells, as many in each row as in the header.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Section:
    """A part of the page under its own heading.

    Attributes:
        title: The heading.
        text: What it shows and how it was measured.
        plots: Plots, beside one another where the screen is wide.
        tables: Tables.
        pictures: Annotated pictures, smaller than plots.
        listing: Text that keeps its lines, folded away.
    """

    title: str
    text: str = ""
    plots: Sequence[Picture] = field(default_factory=list)
    tables: Sequence[Table] = field(default_factory=list)
    pictures: Sequence[Picture] = field(default_factory=list)
    listing: str = ""


@dataclass(frozen=True)
class Page:
    """A report.

    Attributes:
        title: Name of the run.
        subtitle: What was measured.
        headlines: Name, value and remark of the numbers that matter most.
        sections: What follows.
    """

    title: str
    subtitle: str
    headlines: Sequence[tuple[str, str, str]]
    sections: Sequence[Section]


def render(page: Page) -> str:
    """Return the page as HTML; every text in it is escaped."""
    environment = Environment(
        loader=PackageLoader("gdino_lightning.evaluation.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(page=page)
