"""Pages in a headless Chromium, where one is installed."""

import contextlib
import shutil

import pytest
from playwright.sync_api import sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WIDTHS = (400, 800, 1440)  # pixels: a telephone, half a screen, a screen


def installed():
    """The path of a Chromium that is there; None: there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextlib.contextmanager
def chromium():
    """A browser; the test is skipped where none is installed."""
    path = installed()
    if path is None:
        pytest.skip(f"no Chromium is installed ({', '.join(NAMES)}): docs/reports.md says how to run this")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


class Opened:
    """A page that was opened, with all that it complained of or asked for.

    Attributes:
        page: playwright's.
        complaints: errors and warnings on the console, and errors that were thrown.
        requests: addresses beside its own file and data within it.
    """

    def __init__(self, browser, path, width=WIDTHS[-1], touch=False):
        self.page = browser.new_page(viewport={"width": width, "height": 900}, has_touch=touch)
        self.complaints, self.requests = [], []
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._request)
        self.address = path.resolve().as_uri()
        self.page.goto(self.address)

    def _console(self, message):
        # A driver of the graphics card may speak of its own speed.
        if message.type in ("error", "warning") and "GL Driver Message" not in message.text:
            self.complaints.append(message.text)

    def _request(self, request):
        if not request.url.startswith(("data:", "blob:")) and request.url != self.address:
            self.requests.append(request.url)

    def overflow(self, width, scheme):
        """Pixels that the page is wider than a window of this width, once its pictures are drawn anew."""
        self.page.set_viewport_size({"width": width, "height": 900})
        self.page.emulate_media(color_scheme=scheme)
        wider = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        drawn = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
        for _ in range(20):  # what is too wide stays so
            self.page.evaluate(drawn)
            if self.page.evaluate(wider) <= 0:
                break
        return self.page.evaluate(wider)

    def close(self):
        self.page.close()
