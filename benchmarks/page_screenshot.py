"""Draw docs/page.png: the page as Chromium shows it, with what the miniature finds in a drawn scene.

`python -m benchmarks.page_screenshot` needs Debian's packages chromium and chromium-driver.
"""

import argparse
import io
import tempfile
from pathlib import Path

import cv2
from PIL import Image

from benchmarks._page_driver import Page, browser, serving
from gdino_lightning.data.world import draw_scene
from gdino_lightning.files import write_atomic

OUTPUT = Path(__file__).parents[1] / "docs" / "page.png"
_SCENE = {"seed": 11, "index": 4, "split": "seen", "size": (480, 640)}  # new to the miniature
_PORT = "7861"


def main() -> None:
    """Serve the page, use it, and write what is seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=OUTPUT, help="PNG file to write")
    output = parser.parse_args().output
    scene = draw_scene(**_SCENE)
    phrases = " . ".join(sorted({thing.kind for thing in scene.objects}))
    with tempfile.TemporaryDirectory() as folder, serving("--weights", "nano", "--port", _PORT) as url:
        picture = Path(folder) / "scene.png"
        cv2.imwrite(str(picture), scene.image[..., ::-1])
        with browser() as driver:
            page = Page(driver, url)
            page.upload(picture)
            page.type_phrases(phrases)
            count = page.detect()
            page.wait_for_picture()
            write_atomic(output, _smaller(page.screenshot()))
    print(f"{output}: {count} boxes, {output.stat().st_size / 1000:.0f} kB")


def _smaller(png: bytes) -> bytes:
    """Return a picture in 256 colours, which is a third of the size and looks the same on a page of few colours."""
    smaller = io.BytesIO()
    reduced = Image.open(io.BytesIO(png)).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    reduced.save(smaller, format="PNG", optimize=True)
    return smaller.getvalue()


if __name__ == "__main__":
    main()
