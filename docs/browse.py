r"""Open every page of the built site in a browser, at two widths.

    python -m sphinx -W docs docs/_build/html
    python docs/browse.py
    python docs/browse.py --screenshots FOLDER --pages start results/cost

Asserts that no page logs an error or scrolls sideways, that links within the
site and images lead somewhere, that blocks of code have a button to copy them,
and that the search finds "rho". Needs Chromium (Debian's `chromium`) and
`pip install websocket-client`.
"""

import argparse
import base64
import contextlib
import functools
import http.server
import itertools
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from pathlib import Path

import websocket

SITE = Path(__file__).parent / "_build" / "html"
WIDTHS = {"desktop": (1280, 900), "phone": (390, 844)}
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PROBE = """
parts = [...document.querySelectorAll('article, .content, .article-container')];
({
  width: Math.max(document.documentElement.scrollWidth, ...parts.map(
    part => part.getBoundingClientRect().left + part.scrollWidth)),
  images: [...document.images].filter(i => i.complete && !i.naturalWidth)
    .map(i => i.src.slice(0, 100)),
  links: [...document.links].map(a => a.href),
  ids: [...document.querySelectorAll('[id]')].map(e => e.id),
  code: document.querySelectorAll('div.highlight pre').length,
  buttons: document.querySelectorAll('button.copybtn').length,
})
"""


class Browser:
    """A headless Chromium, spoken to by its DevTools protocol."""

    def __init__(self, folder):
        [command, *_] = filter(shutil.which, BROWSERS)
        self._process = subprocess.Popen(
            [
                command,
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--remote-debugging-port=0",
                "--remote-allow-origins=*",
                f"--user-data-dir={folder}",
                "about:blank",
            ],
            stderr=subprocess.DEVNULL,
        )
        port_file = Path(folder) / "DevToolsActivePort"
        wait_until(lambda: port_file.exists() and port_file.read_text())
        port = port_file.read_text().split()[0]
        pages = f"http://127.0.0.1:{port}/json/list"
        wait_until(lambda: self._page(pages))
        url = self._page(pages)["webSocketDebuggerUrl"]
        self._socket = websocket.create_connection(url, timeout=60)
        self._numbers = itertools.count(1)
        self.events = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    @staticmethod
    def _page(url):
        with urllib.request.urlopen(url) as answer:
            targets = json.load(answer)
        return next((t for t in targets if t["type"] == "page"), None)

    def call(self, method, **arguments):
        """Call a method of the protocol and return its result."""
        number = next(self._numbers)
        request = {"id": number, "method": method, "params": arguments}
        self._socket.send(json.dumps(request))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("id") == number:
                return message.get("result", {})
            self.events.append(message)

    def value(self, expression):
        """Return what JavaScript evaluates to."""
        result = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True
        )
        return result["result"].get("value")

    def open(self, url, size):
        """Load a page and wait until it is there."""
        width, height = size
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 500,
        )
        self.events.clear()
        self.call("Page.navigate", url=url)
        wait_until(
            lambda: self.value(
                "document.readyState === 'complete' && "
                f"location.href === {json.dumps(url)}"
            )
        )

    def errors(self):
        """Return what the console has of the page."""
        found = []
        for event in self.events:
            content = event.get("params", {})
            if event.get("method") == "Runtime.exceptionThrown":
                found.append(content["exceptionDetails"].get("text"))
            elif content.get("type") == "error":
                found.append(str(content.get("args")))
            elif content.get("entry", {}).get("level") == "error":
                entry = content["entry"]
                found.append(f"{entry['text']} {entry.get('url', '')}")
        return found

    def screenshot(self, path):
        """Write a picture of the whole page, of at most 6,000 pixels."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        size["height"] = min(size["height"], 6000)
        data = self.call(
            "Page.captureScreenshot",
            clip={**size, "scale": 1},
            captureBeyondViewport=True,
        )
        path.write_bytes(base64.b64decode(data["data"]))

    def close(self):
        """End the browser."""
        self._process.terminate()
        self._process.wait()


def wait_until(condition, seconds=90):
    """Wait until something holds, and fail if it does not."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            if condition():
                return
        time.sleep(0.05)
    raise TimeoutError("The browser did not answer in time.")


@contextlib.contextmanager
def served(site):
    """Serve a folder and yield its address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    handler = functools.partial(Quiet, directory=site)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def faults_of(page, width, found, errors):
    """Return what is wrong with an opened page, sentence by sentence."""
    faults = [f"logs {error}" for error in errors]
    # Not the width of the window, which grows with the page on a phone.
    if found["width"] > width:
        faults.append(f"is {found['width']} wide, not {width}")
    faults += [f"lacks the image {source}" for source in found["images"]]
    # Outside `pre`, numbers of lines make two blocks of one.
    if found["buttons"] < found["code"]:
        faults.append(f"has {found['buttons']} buttons, {found['code']} codes")
    return [f"{page} {fault}" for fault in faults]


def broken_links(address, links, anchors):
    """Return the links within the site that lead nowhere, with their page."""
    broken = []
    for page, targets in links.items():
        for target in targets:
            url, _, anchor = target.partition("#")
            if not url.startswith(address):
                continue
            path = urllib.parse.unquote(url.removeprefix(address))
            path = path.split("?")[0].strip("/") or "index.html"
            anchor = urllib.parse.unquote(anchor)
            if not (SITE / path).exists():
                broken.append(f"{page} links to {path}")
            elif anchor and anchor not in anchors.get(path, {anchor}):
                broken.append(f"{page} links to {path}#{anchor}")
    return sorted({*broken})


def browse(browser, address, pages, screenshots):
    """Open all pages at both widths and return what is wrong."""
    faults, links, anchors = [], {}, {}
    for page in pages:
        for name, size in WIDTHS.items():
            browser.open(f"{address}/{page}", size)
            found = browser.value(PROBE)
            faults += faults_of(
                f"{page} ({name})", size[0], found, browser.errors()
            )
            links[page] = {*found["links"]}
            anchors[page] = {*found["ids"]}
            if screenshots:
                file = page.replace("/", "-").removesuffix(".html")
                browser.screenshot(screenshots / f"{file}-{name}.png")
    browser.open(f"{address}/search.html?q=rho", WIDTHS["desktop"])
    wait_until(
        lambda: browser.value(
            "document.querySelectorAll('#search-results li').length > 0"
        )
    )
    faults += [f"search logs {error}" for error in browser.errors()]
    return faults + broken_links(address, links, anchors)


def main():
    """Browse, print what is wrong, and fail if anything is."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--screenshots", type=Path, help="folder for pictures")
    parser.add_argument("--pages", nargs="+", help="these pages only")
    options = parser.parse_args()
    names = options.pages or [
        str(path.relative_to(SITE)).removesuffix(".html")
        for path in sorted(SITE.rglob("*.html"))
    ]
    if options.screenshots:
        options.screenshots.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, served(SITE) as address:
        browser = Browser(folder)
        try:
            pages = [f"{name}.html" for name in names]
            faults = browse(browser, address, pages, options.screenshots)
        finally:
            browser.close()
    print("\n".join(faults) or f"{len(names)} pages are as they should be.")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
