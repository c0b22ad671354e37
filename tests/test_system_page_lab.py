"""The tab Lab in a real browser, a headless Chromium, on a server of its own: `make system`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from selenium.webdriver.common.keys import Keys
from tests.browsers import Tab, chromium
from tests.servers import Served

from scorefield.lab import EXPERIMENTS

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("browser")) as driver:
        yield driver


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("lab") / "server") as served:
        yield served


@pytest.fixture
def tab(driver: Any, served: Served) -> Iterator[Tab]:
    """The list of the experiments as a new visitor finds it; the console stays silent."""
    tab = Tab(driver, served.address)
    tab.resize(1360)
    tab.prefer(prefers_color_scheme="light")
    tab.log()
    tab.open("/lab")
    tab.one(".lab-list a")
    yield tab
    assert tab.log() == []


def run(tab: Tab, **settings: object) -> None:
    """Run the opened experiment, and wait until it is done."""
    for name, value in settings.items():
        tab.fill(f"#setting-{name}", str(value))
    tab.click("Run")
    tab.until(lambda: tab.all(".lab-form .status[data-state=done]"), "result", 60)


def loaded(tab: Tab, css: str) -> list[int]:
    """The widths of the pictures, once all have come."""
    widths = "return [...document.querySelectorAll(arguments[0])].map(one => one.naturalWidth)"
    return list(tab.until(lambda: all(found := tab.run(widths, css)) and found, css))


def names(tab: Tab) -> list[str]:
    return list(tab.run("return [...document.querySelectorAll('.lab-list b')].map(one => one.innerText)"))


def test_every_experiment_is_listed_and_found_by_its_words(tab: Tab) -> None:
    assert names(tab) == list(EXPERIMENTS)
    assert EXPERIMENTS["walk"].claim in [one.text for one in tab.all(".lab-list a > span:last-child")]
    tab.press("/")
    tab.driver.switch_to.active_element.send_keys("random WALK closed formula")
    tab.until(lambda: names(tab) == ["walk"], "result of the search")
    tab.one(".lab-list a").click()
    assert EXPERIMENTS["walk"].claim in tab.text(".lab-claim")
    assert tab.one("#setting-steps").get_attribute("value") == "100"
    assert "x_k = alpha_k x0 + sigma_k eps" in tab.text(".lab-prose pre:last-of-type")
    tab.click("All experiments")
    tab.fill("input[type=search]", "walk zebra")
    tab.until(lambda: "No experiment" in tab.text(".lab [role=status]"), "empty result")


def test_a_run_shows_its_criteria_and_figures_beside_those_of_the_run_before(tab: Tab) -> None:
    tab.open("/lab/walk")
    run(tab, steps=20)
    rows = [one.text for one in tab.all(".lab-claim tbody tr")]
    assert len(rows) == len(EXPERIMENTS["walk"].criteria)
    assert all(row.endswith(("yes", "no")) for row in rows)
    assert "The claim" in tab.text(".lab-verdict")
    assert "steps 20 " in tab.text("[aria-label=Result]")
    assert "Done in" in tab.text(".lab-form .status")
    assert loaded(tab, ".lab-figure img")[0] > 300
    assert not tab.all("[aria-label=Comparison]")
    film = tab.one("video.lab-moving")
    tab.until(lambda: tab.run("return arguments[0].duration", film) > 0, "animation")
    run(tab, steps=5, shape="moons")
    tab.until(lambda: tab.all("[aria-label=Comparison]"), "comparison")
    compared = [one.text for one in tab.all(".lab-compared tbody tr")]
    assert compared[:2] == ["Shape spiral moons", "Steps 20 5"]
    assert len(set(loaded(tab, ".lab-pair img"))) == 1
    address = tab.driver.current_url
    tab.open(address.split("#")[1])
    tab.until(lambda: tab.all("[aria-label=Result]"), "the run of the address after loading anew")
    assert "steps 5 " in tab.text("[aria-label=Result]")


def test_a_long_run_tells_its_progress_and_is_stopped(tab: Tab, served: Served) -> None:
    tab.open("/lab/field")
    tab.fill("#setting-steps", "20000")
    tab.press(Keys.ENTER)  # on the next field
    tab.until(lambda: "Training" in tab.text(".lab-form .status"), "progress")
    tab.until(lambda: int(tab.one(".lab .bar").get_attribute("aria-valuenow")) > 0, "a bar that moves")
    name = tab.driver.current_url.split("/")[-1]
    tab.click("All experiments")
    tab.until(lambda: "Training" in tab.text(".lab-list"), "progress in the list")
    tab.driver.back()
    tab.one(".lab-form")
    tab.press(Keys.ESCAPE)
    tab.until(lambda: tab.all(".lab-form .status[data-state=cancelled]"), "stop")
    with served.client() as client:
        assert client.get(f"/lab/runs/{name}").json()["state"] == "cancelled"
    tab.button("Run")


def test_a_wrong_setting_says_why_and_nothing_runs(tab: Tab) -> None:
    tab.open("/lab/walk")
    before = tab.driver.current_url
    for value, wrong in (("3", True), ("4", False), ("2.5", True), ("1001", True), ("1000", False)):
        tab.fill("#setting-steps", value)
        assert bool(tab.all("[data-wrong=true]")) == wrong, value
    tab.fill("#setting-steps", "-1")
    assert tab.text("#setting-steps-note") == "This must be a whole number, 4 to 1,000."
    tab.click("Run")
    assert tab.driver.switch_to.active_element.get_attribute("id") == "setting-steps"
    assert tab.driver.current_url == before
    tab.click("Defaults")
    assert tab.one("#setting-steps").get_attribute("value") == "100"
    assert not tab.all("[data-wrong=true]")


def test_what_the_server_refuses_is_one_calm_line(tab: Tab) -> None:
    tab.open("/lab/nope")
    assert tab.text(".lab .error") == "There is no experiment “nope”. See all of them"
    tab.open("/lab/walk/run_forgotten")
    tab.until(lambda: "there is no run 'run_forgotten'" in tab.text(".lab-form > .error"), "the server's line")
    assert [line for line in tab.log() if "404 (Not Found)" not in line] == []  # Chromium logs what was refused


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1360, 390])
def test_it_fits_and_is_accessible(tab: Tab, served: Served, scheme: str, width: int) -> None:
    tab.prefer(prefers_color_scheme=scheme)
    tab.resize(width, 844)

    def check(where: str) -> None:
        assert tab.run("return document.documentElement.scrollWidth") <= width, where
        assert tab.violations() == [], where

    check("list")
    for name in EXPERIMENTS:
        tab.run("location.hash = arguments[0]", f"/lab/{name}")
        tab.until(lambda name=name: tab.text(".lab-name") == name, name)
        assert tab.run("return document.documentElement.scrollWidth") <= width, name
    tab.open("/lab/walk")
    run(tab, steps=6)
    run(tab, steps=5)
    tab.run("document.querySelector('.lab details').open = true")
    loaded(tab, ".lab-figure img")
    check("results")
    tab.fill("#setting-steps", "1")
    check("a wrong setting")


def test_a_server_with_a_key_shows_the_lab_once_it_has_it(driver: Any, tmp_path: Path) -> None:
    with Served(tmp_path / "locked", "--api-key", "open sesame") as served:
        tab = Tab(driver, served.address)
        tab.open("/lab")
        tab.fill("dialog input", "open sesame")
        tab.click("Open the page")
        tab.until(lambda: names(tab) == list(EXPERIMENTS), "list")
        assert not tab.all(".lab .error")
        with httpx.Client(base_url=served.address, trust_env=False) as stranger:
            assert stranger.get("/lab").status_code == 401
        driver.delete_all_cookies()
        driver.get("about:blank")
        tab.log()  # Chromium logs what was refused
