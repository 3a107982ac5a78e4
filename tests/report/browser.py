"""Chromium without a window, driven over a pipe with its DevTools protocol; nothing to install.

By hand: ``python -m tests.report.browser PAGE IMAGE.png [WIDTH HEIGHT [dark]]``.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_PATIENCE = 20
KEYS = {
    "ArrowLeft": 37,
    "ArrowUp": 38,
    "ArrowRight": 39,
    "ArrowDown": 40,
    "Escape": 27,
    "Enter": 13,
    "Tab": 9,
    " ": 32,
}


def find_chromium():
    """The program, or None."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for path in map(shutil.which, names) if path), None)


class Browser:
    """One Chromium with one page."""

    def __init__(self):
        """Start it; `with` ends it."""
        self._profile = (
            tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
            if (sys.version_info >= (3, 10))
            else tempfile.TemporaryDirectory()
        )
        theirs, self._write = os.pipe()
        self._read, answers = os.pipe()
        # Chromium listens on 3 and answers on 4; high numbers first, so that none is overwritten.
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 60) for fd in (theirs, answers)]
        for fd in (theirs, answers):
            os.close(fd)
        self._process = subprocess.Popen(
            [
                *("bash", "-c", f'exec "$@" 3<&{high[0]} 4>&{high[1]}', "bash"),
                *(find_chromium(), "--headless", "--no-sandbox", "--disable-gpu"),
                *("--disable-background-networking", "--disable-dev-shm-usage"),
                *("--no-first-run", "--hide-scrollbars", "--remote-debugging-pipe"),
                *(f"--user-data-dir={self._profile.name}", "about:blank"),
            ],
            pass_fds=high,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for fd in high:
            os.close(fd)
        self._buffer = b""
        self._number = 0
        self._session = None
        self.events = []
        page = next(
            one
            for one in self.call("Target.getTargets")["targetInfos"]
            if one["type"] == "page" and one["url"] == "about:blank"
        )
        attached = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setFocusEmulationEnabled", enabled=True)

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self._session = None
        try:
            self.call("Browser.close")
            self._process.wait(_PATIENCE)
        finally:
            self._process.kill()
            self._process.wait()
            os.close(self._read)
            os.close(self._write)
            self._profile.cleanup()

    def call(self, method, **parameters):
        """Ask for something and wait for the answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def _next(self):
        until = time.monotonic() + _PATIENCE
        while b"\0" not in self._buffer:
            if not select.select([self._read], [], [], max(0, until - time.monotonic()))[0]:
                raise TimeoutError("Chromium does not answer.")
            part = os.read(self._read, 1 << 20)
            if not part:
                raise RuntimeError("Chromium has ended.")
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def open(self, page, fragment=""):
        """Open a file and wait until it is loaded."""
        self.call("Page.navigate", url="about:blank")
        self.events.clear()
        url = Path(page).resolve().as_uri() + (f"#{fragment}" if fragment else "")
        self.call("Page.navigate", url=url)
        # Asked from outside: what is asked of a page in time is lost with the page.
        until = time.monotonic() + _PATIENCE
        while not self.run("document.readyState === 'complete' && location.protocol === 'file:'"):
            if time.monotonic() > until:
                raise TimeoutError(f"It was not loaded: {url}")
            time.sleep(0.01)

    def run(self, expression):
        """The value of an expression in the page; promises are awaited."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(json.dumps(answer["exceptionDetails"])[:2000])
        return answer["result"].get("value")

    def wait(self, expression):
        """Wait until an expression is true, in the page that is there."""
        became = self.run(f"""new Promise((done) => {{
            const until = Date.now() + {_PATIENCE // 2 * 1000};
            const look = () => {{
                if ({expression}) done(true);
                else if (Date.now() > until) done(false);
                else setTimeout(look, 2);
            }};
            look();
        }})""")
        if not became:
            raise TimeoutError(f"It never became true: {expression}")

    def press(self, key, modifiers=0):
        """Press a key and let it go."""
        named = {"key": key, "code": key, "windowsVirtualKeyCode": KEYS[key]}
        text = {"text": "\r"} if key == "Enter" else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", modifiers=modifiers, **named, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", modifiers=modifiers, **named)

    def problems(self):
        """Errors and warnings that the page gave rise to."""
        found = []
        self.run("0")  # so that all before it has arrived
        for event in self.events:
            details = event.get("params", {})
            if event.get("method") == "Runtime.exceptionThrown":
                found.append(json.dumps(details["exceptionDetails"]))
            if event.get("method") == "Log.entryAdded":
                found.append(f"{details['entry']['text']} {details['entry'].get('url', '')}")
        return found

    def requested(self):
        """URLs that the page asked for."""
        self.run("0")
        return [
            event["params"]["request"]["url"]
            for event in self.events
            if event.get("method") == "Network.requestWillBeSent"
        ]

    def look(self, width=1400, height=1000, *, dark=False, phone=False):
        """Choose the window's size and the color scheme."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=phone,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def screenshot(self, path):
        """Write what is seen as PNG."""
        time.sleep(0.3)  # images are decoded behind the page's back
        data = self.call("Page.captureScreenshot", format="png")["data"]
        Path(path).write_bytes(base64.b64decode(data))


if __name__ == "__main__":
    page, _, fragment = sys.argv[1].partition("#")
    size = [int(side) for side in sys.argv[3:5]] or [1400, 1000]
    with Browser() as browser:
        browser.look(*size, dark="dark" in sys.argv, phone="phone" in sys.argv)
        browser.open(page, fragment)
        for script in sys.argv[5:]:
            if script not in ("dark", "phone"):
                print(browser.run(script))
        browser.screenshot(sys.argv[2])
        print(*browser.problems(), sep="\n")
