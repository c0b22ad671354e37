"""A headless Chromium for tests of the page: what one types, drops and sees."""

import base64
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

webdriver = pytest.importorskip("selenium.webdriver", reason="needs the extra `system`")

FLAGS = (
    "headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
    "disable-component-update", "disable-sync", "hide-scrollbars", "mute-audio",
)  # fmt: skip
AXE = Path(__file__).parents[1] / "page" / "node_modules" / "axe-core" / "axe.min.js"
_DROPPED = """
const [where, text, name, type] = arguments;
const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
const data = new DataTransfer();
data.items.add(new File([bytes], name, {type}));
const send = (target, kind) =>
  target.dispatchEvent(new DragEvent(kind, {dataTransfer: data, bubbles: true, cancelable: true}));
send(document.body, "dragenter");
setTimeout(() => {
  const zone = [...document.querySelectorAll(".zone")].find(one => one.textContent.includes(where));
  send(zone, "dragenter");
  send(zone, "drop");
}, 100);
"""
_BUTTON = """
const [within, text] = arguments;
return [...document.querySelectorAll(`:is(${within}) :is(button, a)`)].find(
  one => (one.ariaLabel ?? one.innerText).includes(text) && one.checkVisibility());
"""
_CHECKED = """
const done = arguments[0];
axe.run(document, {resultTypes: ["violations"]}).then(
  ({violations}) => done(violations.map(({id, nodes}) => `${id}: ${nodes.map(({html}) => html.slice(0, 160))}`)),
  error => done([String(error)]));
"""


class Tab:
    """A tab of the browser, at the address of a server."""

    def __init__(self, driver: Any, address: str) -> None:
        self.driver, self.address = driver, address

    def open(self, route: str = "/make") -> None:
        """Load the page anew."""
        self.driver.get("about:blank")
        self.driver.get(f"{self.address}/#{route}")
        self.until(lambda: self.all("main h1"), "the page")

    def run(self, script: str, *values: object) -> Any:
        return self.driver.execute_script(script, *values)

    def all(self, css: str) -> list[Any]:
        found: list[Any] = self.driver.find_elements("css selector", css)
        return found

    def one(self, css: str) -> Any:
        self.until(lambda: self.all(css), css)
        return self.all(css)[0]

    def button(self, text: str, within: str = "body") -> Any:
        """The visible button or link with that text or label."""

        return self.until(lambda: self.run(_BUTTON, within, text), f"a button {text!r}")

    def click(self, text: str, within: str = "body") -> None:
        self.button(text, within).click()

    def fill(self, css: str, text: str) -> None:
        """Replace the text of a field."""
        field = self.one(css)
        self.run("arguments[0].focus(); arguments[0].select?.()", field)
        field.send_keys(text, "\ue004")  # and on, with the tabulator

    def press(self, *keys: str) -> None:
        """Press a key; those before it are held."""
        chain = webdriver.ActionChains(self.driver)
        for key in keys[:-1]:
            chain.key_down(key)
        chain.send_keys(keys[-1])
        for key in keys[:-1]:
            chain.key_up(key)
        chain.perform()

    def drop(self, data: bytes, where: str, name: str = "dropped.png", kind: str = "image/png") -> None:
        """Drop a file on the zone with that text."""
        self.run(_DROPPED, where, base64.b64encode(data).decode(), name, kind)

    def until(self, condition: Callable[[], object], what: str, seconds: float = 30.0) -> Any:
        """Wait for something; what it is, once it is true."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := condition():
                return found
            time.sleep(0.05)
        raise AssertionError(f"no {what} after {seconds} s; the page says {self.one('body').text[:400]!r}")

    def text(self, css: str) -> str:
        text: str = self.one(css).text
        return text

    def resize(self, width: int, height: int = 900) -> None:
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
        )

    def prefer(self, **features: str) -> None:
        """Set media features such as prefers_color_scheme."""
        listed = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": listed})

    def log(self) -> list[str]:
        """What the console has said since it was last asked."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def violations(self) -> list[str]:
        """The rules of accessibility that the page breaks, as axe knows them."""
        assert AXE.exists(), "this test needs axe: npm --prefix page ci"
        if not self.run("return 'axe' in window"):
            self.run(AXE.read_text())
        found: list[str] = self.driver.execute_async_script(_CHECKED)
        return found


@contextmanager
def chromium(folder: Path) -> Iterator[Any]:
    """A driver of Chromium, which may download into `folder`."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    assert program, "this test needs Chromium; on Debian: apt-get install chromium chromium-driver"
    assert driver, "this test needs ChromeDriver; on Debian: apt-get install chromium chromium-driver"
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in (*FLAGS, f"user-data-dir={folder / 'profile'}"):
        options.add_argument(f"--{flag}")
    options.add_experimental_option("prefs", {"download.default_directory": str(folder)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options, webdriver.ChromeService(driver)) as chrome:
        chrome.set_script_timeout(60)
        yield chrome
