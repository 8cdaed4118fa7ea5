"""A headless Chromium that a test drives: real keys and taps, through its debugging pipe."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

_KEYS = {"ArrowRight": 39, "ArrowLeft": 37, "ArrowUp": 38, "ArrowDown": 40, "Enter": 13, "Tab": 9}
_SECONDS = 120


class Browser:
    """One page. A context manager; skips the test where there is no Chromium."""

    def __init__(self, folder: Path):
        """Starts the browser with a profile of its own in `folder`."""
        found = shutil.which("chromium") or shutil.which("chromium-browser")
        if found is None:
            pytest.skip("no chromium: apt-get install chromium")
        # The browser reads at 3 and writes to 4; our own numbers stay out of the way.
        ends = [os.pipe(), os.pipe()]
        (theirs_in, self._write), (self._read, theirs_out) = (
            [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 20) for end in pair] for pair in ends
        )
        for pair in ends:
            for end in pair:
                os.close(end)
        log = os.open(folder / "browser.log", os.O_WRONLY | os.O_CREAT)
        arguments = [
            *(found, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"),
            *(f"--user-data-dir={folder / 'profile'}", "--no-first-run", "about:blank"),
        ]
        self._process = os.posix_spawn(
            found,
            arguments,
            dict(os.environ),
            file_actions=[
                (os.POSIX_SPAWN_DUP2, theirs_in, 3),
                (os.POSIX_SPAWN_DUP2, theirs_out, 4),
                (os.POSIX_SPAWN_DUP2, log, 1),
                (os.POSIX_SPAWN_DUP2, log, 2),
            ],
            setpgroup=0,
        )
        for end in (theirs_in, theirs_out, log):
            os.close(end)
        self._number, self._received, self._session = 0, b"", None
        self.dialogs: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        self.call("Page.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *unused: object) -> None:
        os.killpg(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)
        os.close(self._read)
        os.close(self._write)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Has the browser do something, and returns what it answers."""
        self._number += 1
        message: dict[str, Any] = {
            "id": self._number,
            "method": method,
            "params": parameters,
        }
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            found = self._next()
            if found.get("method") == "Page.javascriptDialogOpening":
                self.dialogs.append(found["params"]["message"])
            if found.get("id") == self._number:
                assert "error" not in found, found["error"]
                return found["result"]

    def open(self, url: str) -> None:
        """Opens an address."""
        self.call("Page.navigate", url=url)

    def evaluate(self, expression: str) -> Any:
        """Returns the value of an expression in the page; promises are waited for."""
        found = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, expression: str) -> None:
        """Waits until an expression is true; one that fails, as in a half loaded page, is not."""
        end = time.monotonic() + _SECONDS
        tried = f"(() => {{ try {{ return Boolean({expression}); }} catch {{ return false; }} }})()"
        while not self.evaluate(tried):
            if time.monotonic() > end:
                pytest.fail(f"never true: {expression}\n{self.evaluate('document.body.innerText')}")
            time.sleep(0.05)

    def press(self, key: str) -> None:
        """Presses a key and lets it go."""
        fields: dict[str, Any] = {"key": key, "windowsVirtualKeyCode": _KEYS.get(key, ord(key[0]))}
        text = "\r" if key == "Enter" else key if len(key) == 1 else ""
        down = {"type": "keyDown", "text": text} if text else {"type": "rawKeyDown"}
        self.call("Input.dispatchKeyEvent", **down, **fields)
        self.call("Input.dispatchKeyEvent", type="keyUp", **fields)

    def write(self, text: str) -> None:
        """Writes a text where the focus is."""
        self.call("Input.insertText", text=text)

    def tap(self, element: str) -> None:
        """Touches the middle of an element, which an expression names."""
        x, y = self.evaluate(
            f"(() => {{ const e = {element}; e.scrollIntoView({{block: 'center'}}); "
            "const b = e.getBoundingClientRect(); "
            "return [b.left + b.width / 2, b.top + b.height / 2]; })()"
        )
        self.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def be_a_phone(self) -> None:
        """Makes the screen small and to be touched."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=360, height=740, deviceScaleFactor=2, mobile=True,
        )  # fmt: skip
        self.call("Emulation.setTouchEmulationEnabled", enabled=True)

    def picture(self, path: Path) -> None:
        """Writes what is seen as a PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def _next(self) -> dict[str, Any]:
        end = time.monotonic() + _SECONDS
        while b"\0" not in self._received:
            ready, _, _ = select.select([self._read], [], [], max(0, end - time.monotonic()))
            if not ready:
                pytest.fail("the browser does not answer")
            chunk = os.read(self._read, 1 << 16)
            if not chunk:
                pytest.fail("the browser has ended")
            self._received += chunk
        message, _, self._received = self._received.partition(b"\0")
        return json.loads(message)
