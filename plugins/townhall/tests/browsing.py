"""A real browser on a real town: headless Chromium, where this machine has one."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from tinytown_testing.shell import Shell

DEADLINE_S = 60
_AXE = Path(__file__).with_name("vendor") / "axe.min.js"


class TownServer:
    """``tt townhall`` for the town of a shell, started and stopped as often as a test wants, on the same port."""

    def __init__(self, shell: Shell) -> None:
        self.shell = shell
        self.key = ""
        self.url = ""
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        port = self.url.rpartition(":")[2] or "0"
        self._process = self.shell.start("townhall", "--port", port, "--json")
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, self._process.communicate()
        self.url = json.loads(line)["url"]
        if not self.key:
            self.key = self.shell.json("auth", "key", "create", "tests", "--scope", "admin")["key"]

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.communicate(timeout=DEADLINE_S)
            self._process = None

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON that a request answers, sent with an API key."""
        content = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, content, headers, method=method)
        with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def link(self) -> str:
        """A link that signs a browser in."""
        return str(self.shell.json("auth", "link", "--url", self.url)["url"])


class Browser:
    """One window, driven by CSS selectors and the words on the page."""

    def __init__(self, driver: webdriver.Chrome, server: TownServer) -> None:
        self.driver = driver
        self.server = server

    def sign_in(self) -> Self:
        self.driver.get(self.server.link())
        self.see("main")
        return self

    def go(self, path: str) -> None:
        self.driver.get(self.server.url + path)

    def size(self, width: int, height: int) -> None:
        """The size of the page, as a phone or a screen has it."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def until(self, condition: Callable[[], Any], what: str = "") -> Any:
        """The first true value of the condition. Raises: AssertionError with what the page shows."""
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            with suppress(StaleElementReferenceException):
                if found := condition():
                    return found
            time.sleep(0.05)
        raise AssertionError(f"never seen: {what}\n{self.text()}\n{self.log()}")

    def see(self, selector: str, words: str = "") -> WebElement:
        """The first element of this kind that is shown and has these words, once there is one."""

        def find() -> WebElement | None:
            return next((each for each in self.all(selector) if each.is_displayed() and words in each.text), None)

        element: WebElement = self.until(find, f"{selector} {words!r}")
        return element

    def gone(self, selector: str, words: str = "") -> None:
        """Wait until no such element is shown."""
        self.until(
            lambda: not [each for each in self.all(selector) if each.is_displayed() and words in each.text],
            f"no {selector} {words!r}",
        )

    def click(self, selector: str, words: str = "") -> None:
        self.see(selector, words).click()

    def write(self, selector: str, text: str) -> None:
        self.see(selector).send_keys(text)

    def press(self, *keys: str) -> None:
        """Press a key, or a chord, on what has the focus."""
        actions = webdriver.ActionChains(self.driver)
        for key in keys[:-1]:
            actions.key_down(key)
        actions.send_keys(keys[-1])
        for key in keys[:-1]:
            actions.key_up(key)
        actions.perform()

    def text(self) -> str:
        return str(self.run("return document.body.innerText"))

    def log(self) -> list[str]:
        """What the browser complains about, without requests that failed while the server was away."""
        entries = [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]
        return [text for text in entries if "ERR_CONNECTION" not in text and "ERR_INCOMPLETE" not in text]

    def violations(self) -> list[str]:
        """What axe finds wrong for people with screen readers, keyboards or weak eyes."""
        self.driver.execute_cdp_cmd("Page.setBypassCSP", {"enabled": True})
        self.driver.execute_cdp_cmd("Runtime.evaluate", {"expression": _AXE.read_text()})
        found = self.driver.execute_async_script(
            "const done = arguments[0]; axe.run(document, {resultTypes: ['violations']}).then(r => done(r.violations))"
        )
        return [
            f"{each['id']}: {node['html'][:160]} {node.get('failureSummary', '')[:200]}"
            for each in found
            for node in each["nodes"]
        ]


def find_browser() -> tuple[str, str] | None:
    """The browser and its driver, if both are installed."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    return (browser, driver) if browser and driver else None


@contextmanager
def open_browser(server: TownServer) -> Generator[Browser]:
    """A browser with a fresh profile, not signed in. Skips the test where there is none."""
    found = find_browser()
    if found is None:
        pytest.skip("no Chromium with its chromedriver is installed: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = found[0]
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--window-size=1400,900",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(found[1]))
    try:
        driver.set_script_timeout(DEADLINE_S)
        # What moves is in no final colour.
        calm = {"features": [{"name": "prefers-reduced-motion", "value": "reduce"}]}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", calm)
        yield Browser(driver, server)
    finally:
        driver.quit()


__all__ = ["Browser", "Keys", "TownServer", "find_browser", "open_browser"]
