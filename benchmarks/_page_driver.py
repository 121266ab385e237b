"""The page in headless Chromium: start both, upload, type, press, slide, read. Tests and the screenshot use it."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

WAIT_S = 60
_NETWORK = ("http", "https", "ws", "wss")
_FLAGS = (
    "--headless=new",
    "--no-sandbox",  # for root in a container
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--force-color-profile=srgb",
)


@contextmanager
def serving(*arguments: str, program: Sequence[str] = ("-m", "gdino_lightning")) -> Iterator[str]:
    """Run `gdino serve` with these arguments, hand out the address, and ask it to end.

    Raises:
        RuntimeError: The server ended before it served, or not at all; the message is what it printed, where its
            threads are included.
    """
    command = [sys.executable, "-X", "faulthandler", *program, "serve", *arguments]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield _address(server)
    finally:
        server.terminate()  # not Ctrl-C, which whatever a shell runs in its background ignores
        try:
            server.communicate(timeout=WAIT_S)
        except subprocess.TimeoutExpired as error:
            server.send_signal(signal.SIGABRT)  # faulthandler's answer is where every thread is
            raise RuntimeError(f"the page did not end: {server.communicate()[0]}") from error


def _address(server: subprocess.Popen[str]) -> str:
    printed = ""
    for line in server.stdout or ():
        printed += line
        if found := re.search(r"the page: (\S+)", line):
            return found[1]
    raise RuntimeError(f"no page was served: {printed}")


@contextmanager
def browser(width: int = 1280, height: int = 900) -> Iterator[Chrome]:
    """Start headless Chromium with an empty profile, and end it.

    Raises:
        FileNotFoundError: There is no Chromium or no driver for it.
    """
    programs = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    if missing := [name for name, path in programs.items() if path is None]:
        raise FileNotFoundError(f"no {' and no '.join(missing)} here: apt-get install chromium chromium-driver")
    options = ChromeOptions()
    options.binary_location = str(programs["chromium"])
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    with TemporaryDirectory(prefix="gdino-chromium-", ignore_cleanup_errors=True) as profile:
        for flag in (*_FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        driver = Chrome(options=options, service=Service(str(programs["chromedriver"])))
        try:
            # the size of what is seen, whatever the window adds to it
            metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
            driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
            yield driver
        finally:
            driver.quit()


class Page:
    """The page as somebody uses it.

    Args:
        driver: The browser.
        address: Of the page.
    """

    def __init__(self, driver: Chrome, address: str) -> None:
        self._driver, self._address = driver, address
        driver.get(address)
        self._find("#detect")

    def upload(self, picture: Path) -> None:
        """Give a picture to the area for uploads and wait until it is there."""
        self._find("#upload input[type=file]").send_keys(str(picture))
        self._find("#upload img")

    def type_phrases(self, text: str) -> None:
        """Replace what is in the field of phrases."""
        field = self._find("#phrases textarea")
        field.send_keys(Keys.CONTROL, "a")
        field.send_keys(text)

    def detect(self) -> int:
        """Press the button; return the number of boxes when it is there."""
        self.press("detect", "summary")
        return self.count()

    def slide(self, name: str, *keys: str) -> None:
        """Press keys on a slider, such as `Keys.END`, and wait until the count is another one."""
        before = self.summary()
        self._find(f"#{name} input[type=range]").send_keys(*keys)
        self._wait(lambda _: self.summary() != before)

    def summary(self) -> str:
        """Return the line over the table, "" where there is none."""
        return self._text("summary")

    def count(self) -> int:
        """Return the number of boxes that the page names."""
        found = re.match(r"(\d+) box", self.summary())
        return int(found[1]) if found else 0

    def table(self) -> list[list[str]]:
        """Return the texts of the table's rows that are on the screen."""
        script = """return [...document.querySelectorAll('#table [role=row]')].map(
            row => [...row.querySelectorAll('[role=gridcell]')].map(cell => cell.innerText.trim()))"""
        rows: list[list[str]] = self._driver.execute_script(script)
        return [row for row in rows if row]

    def error(self) -> str:
        """Wait for an error in the corner of the page and return its text."""
        message = self._find(".toast-message-text.error")
        return str(self._wait(lambda _: message.text))  # "" while it fades in

    def download(self, button: str, folder: Path) -> Path:
        """Press a button for a download and return the file, which comes into the empty folder."""
        behaviour = {"behavior": "allow", "downloadPath": str(folder)}
        self._driver.execute_cdp_cmd("Browser.setDownloadBehavior", behaviour)
        self._find(f"#{button}").click()
        return Path(self._wait(lambda _: [path for path in folder.iterdir() if path.suffix != ".crdownload"])[0])

    def open_tab(self, name: str) -> None:
        """Show another part of the page."""
        self._find(f"//button[@role='tab' and normalize-space()='{name}']").click()

    def clear(self) -> None:
        """Take the picture away."""
        self._find("#upload button[title='Remove Image']").click()

    def click(self, button: str) -> None:
        """Press a button."""
        self._find(f"#{button}").click()

    def wait_for_count(self, count: int) -> None:
        """Wait until the page names this number of boxes."""
        self._wait(lambda _: self.count() == count)

    def press(self, button: str, answer: str) -> str:
        """Press a button and return the text that appears in an element."""
        self._find(f"#{button}").click()
        return str(self._wait(lambda _: self._text(answer)))

    def outside_requests(self) -> list[str]:
        """Return the addresses that the browser asked for outside the server since the last call."""
        log: list[dict[str, Any]] = self._driver.get_log("performance")
        messages = [json.loads(entry["message"])["message"] for entry in log]
        sent = [each["params"]["request"]["url"] for each in messages if each["method"] == "Network.requestWillBeSent"]
        places = [(url, urlsplit(url)) for url in sent]  # also of chrome: and data:, which need no network
        home = urlsplit(self._address).netloc
        return [url for url, place in places if place.scheme in _NETWORK and place.netloc != home]

    def wait_for_picture(self) -> None:
        """Wait until the picture with the boxes is loaded and Gradio's animations are over."""
        loaded = (
            "const picture = document.querySelector('#drawn img'); return picture?.complete && picture.naturalWidth"
        )
        self._wait(lambda driver: driver.execute_script(loaded))
        self._driver.execute_script("document.activeElement?.blur()")
        time.sleep(1)

    def screenshot(self) -> bytes:
        """Return what is seen as a PNG file."""
        return self._driver.get_screenshot_as_png()

    def _text(self, name: str) -> str:
        # without the progress that Gradio writes over it
        script = "return document.querySelector(`#${arguments[0]} [data-testid=markdown]`)?.innerText.trim() ?? ''"
        return str(self._driver.execute_script(script, name))

    def _find(self, selector: str) -> Any:
        how = By.XPATH if selector.startswith("//") else By.CSS_SELECTOR
        return self._wait(lambda driver: next(iter(driver.find_elements(how, selector)), None))

    def _wait(self, condition: Any) -> Any:
        return WebDriverWait(self._driver, WAIT_S).until(condition)
