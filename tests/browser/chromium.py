"""A headless Chromium, spoken to over its DevTools protocol: enough to open pages of the book and to use them."""

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import websocket

_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--remote-debugging-port=0", "--remote-allow-origins=*", "--mute-audio",
)  # fmt: skip
_KEYS = {"ArrowDown": 40, "ArrowUp": 38, "Enter": 13, "Tab": 9, "Home": 36, "End": 35}


class Chromium:
    """One browser with one page. `errors` are exceptions and messages of the console since the last `open`."""

    def __init__(self, connection: websocket.WebSocket):
        self._connection, self._number = connection, 0
        self._session: str | None = None
        self.errors: list[str] = []
        self.requests: list[str] = []
        self._loaded = False
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")

    def open(self, page: Path, query: str = "", width: int = 1280, theme: str = "light") -> None:
        """Open a file at a window's `width`, with a `theme`, and wait until it is loaded."""
        self._call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600
        )
        self._call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])
        self._go("about:blank")  # else another fragment of the same page would load nothing
        self.errors, self.requests = [], []
        self._go(page.resolve().as_uri() + query)
        # While colours fade from one theme to the other, axe would measure one in between.
        self.run(
            "document.head.append(Object.assign(document.createElement('style'), {textContent: '* { transition: none !important }'})); null"
        )
        self.run(f"document.documentElement.dataset.theme = document.documentElement.dataset.mode = {theme!r}")
        self.run("new Promise((done) => requestAnimationFrame(() => setTimeout(done, 50)))")

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression on the page; promises are waited for. Raises `RuntimeError` for what it throws."""
        answer = self._call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise RuntimeError(details.get("exception", {}).get("description", details["text"]))
        return answer["result"].get("value")

    def _go(self, url: str) -> None:
        self._loaded = False
        self._call("Page.navigate", url=url)
        end = time.monotonic() + 60
        while not self._loaded:
            if time.monotonic() > end:
                raise TimeoutError(f"{url} did not load in 60 s")
            self._receive()

    def press(self, key: str) -> None:
        """Press a key where the focus is."""
        for kind in ("keyDown", "keyUp"):
            text = {"text": "\r"} if key == "Enter" and kind == "keyDown" else {}
            self._call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=_KEYS[key], **text)

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        number, session = self._number, {"sessionId": self._session} if self._session else {}
        self._connection.send(json.dumps({"id": number, "method": method, "params": parameters} | session))
        while True:
            message = self._receive()
            if message.get("id") == number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]

    def _receive(self) -> dict[str, Any]:
        message = json.loads(self._connection.recv())
        about = message.get("params", {})
        match message.get("method"):
            case "Runtime.exceptionThrown":
                details = about["exceptionDetails"]
                self.errors.append(details.get("exception", {}).get("description", details["text"]))
            case "Log.entryAdded" if about["entry"]["level"] == "error":
                self.errors.append(f"{about['entry']['text']} {about['entry'].get('url', '')}")
            case "Network.requestWillBeSent":
                self.requests.append(about["request"]["url"])
            case "Page.loadEventFired":
                self._loaded = True
        return message


@contextlib.contextmanager
def chromium(command: str, profile: Path) -> Iterator[Chromium]:
    """Start the browser `command` with an empty `profile`, and end it afterwards."""
    process = subprocess.Popen(
        [command, *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        port, path = _address(profile / "DevToolsActivePort", process)
        with contextlib.closing(websocket.create_connection(f"ws://127.0.0.1:{port}{path}", timeout=60)) as connection:
            yield Chromium(connection)
    finally:
        process.terminate()
        process.wait(30)


def _address(file: Path, process: subprocess.Popen) -> tuple[str, str]:
    """The port and path that a browser has written when it is ready."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"the browser ended with status {process.returncode}")
        if file.is_file() and len(lines := file.read_text().split()) == 2:
            return lines[0], lines[1]
        time.sleep(0.1)
    raise TimeoutError("the browser did not start in 60 s")
