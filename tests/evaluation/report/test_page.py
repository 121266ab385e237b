"""The page as a browser reads it: parsed by lxml, not compared as text."""

import base64

from lxml import html

from gdino_lightning.evaluation.report.page import Page, Picture, Section, Table, render

PNG = b"\x89PNG\r\n\x1a\nrest"
EVIL = '<script>alert("x")</script> & "more"'


def parsed(page: Page) -> html.HtmlElement:
    return html.document_fromstring(render(page))


def a_page(text: str = "text") -> Page:
    return Page(
        title=text,
        subtitle=text,
        headlines=[(text, text, text)],
        sections=[
            Section(
                text,
                text,
                plots=[Picture("plot", PNG, text, text)],
                tables=[Table(text, ("a", text), [(text, "1"), ("b", text)])],
                pictures=[Picture("photo", b"\xff\xd8rest", text)],
                listing=text,
            ),
            Section("Bare"),
        ],
    )


def test_every_text_is_escaped():
    page = parsed(a_page(EVIL))
    assert not page.xpath("//script")
    assert page.xpath("//h1")[0].text_content() == EVIL
    assert page.xpath("//h2")[0].text_content() == EVIL
    assert page.xpath("//pre")[0].text_content() == EVIL
    assert page.xpath("//img/@alt") == [EVIL, EVIL]
    assert page.xpath("//tbody/tr/th")[0].text_content() == EVIL
    assert page.xpath("//tbody/tr/td")[1].text_content() == EVIL


def test_nothing_is_loaded_from_elsewhere_and_pictures_are_in_the_page():
    page = parsed(a_page())
    sources = page.xpath("//@src")
    assert [base64.b64decode(source.split(",")[1]) for source in sources] == [PNG, b"\xff\xd8rest"]
    assert [source.split(";")[0] for source in sources] == ["data:image/png", "data:image/jpeg"]
    assert not page.xpath("//link | //script | //iframe")
    assert all(target.startswith("#") for target in page.xpath("//@href"))
    assert "url(" not in render(a_page())
    assert "@import" not in render(a_page())


def test_it_can_be_used_without_eyes_and_on_a_telephone():
    page = parsed(a_page())
    assert page.get("lang") == "en"
    assert "width=device-width" in page.xpath("//meta[@name='viewport']/@content")[0]
    assert all(page.xpath("//img/@alt"))
    assert page.xpath("//table/caption")
    assert set(page.xpath("//th/@scope")) == {"col", "row"}
    assert len(page.xpath("//h1")) == len(page.xpath("//main")) == 1
    targets = [target.removeprefix("#") for target in page.xpath("//nav//@href")]
    assert targets == page.xpath("//section/@id") == ["part-1", "part-2"]
    assert [page.get_element_by_id(name).tag for name in page.xpath("//section/@aria-labelledby")] == ["h2", "h2"]


def test_what_a_section_lacks_leaves_nothing_behind():
    bare = parsed(a_page()).get_element_by_id("part-2")
    assert [child.tag for child in bare] == ["h2"]
