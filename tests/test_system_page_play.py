"""The plane of the page in a headless Chromium: learning, fields, walks, and how fast they are drawn."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import ActionChains
from selenium.webdriver.common.keys import Keys
from tests.browsers import Tab, chromium
from tests.servers import Served

pytestmark = pytest.mark.system

TRAINING = 150  # steps; enough to see a field, on a busy machine too
CHANGED = """
const canvas = document.querySelector(".plane canvas");
const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", {willReadFrequently: true});
copy.drawImage(canvas, 0, 0);
const data = copy.getImageData(0, 0, canvas.width, canvas.height).data;
const before = window.before ?? data;
window.before = data;
return data.reduce((sum, value, k) => sum + (Math.abs(value - before[k]) > 24 ? 1 : 0), 0) / data.length;
"""
AT = "return Number(document.querySelector('.scrub input').ariaValueText.slice(4))"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("plane")


@pytest.fixture(scope="module")
def driver(folder: Path) -> Iterator[Any]:
    with chromium(folder) as driver:
        yield driver


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Served]:
    with Served(folder / "server") as served:
        yield served


@pytest.fixture
def tab(driver: Any, served: Served) -> Iterator[Tab]:
    """The plane as a new visitor finds it, but for a shorter training; the console stays silent."""
    tab = Tab(driver, served.address)
    driver.get(served.address)
    tab.run("localStorage.clear(); localStorage.setItem('scorefield.play-training', arguments[0])", TRAINING)
    tab.resize(1360, 1100)
    tab.prefer(prefers_color_scheme="light")
    tab.log()
    tab.open("/play")
    tab.one(".plane canvas")
    yield tab
    assert tab.log() == []


def learned(tab: Tab) -> None:
    tab.until(lambda: "Learned in" in tab.text(".learning"), "learned field", 120)


def check(tab: Tab, words: str, k: int = 0) -> None:
    """Click the k-th checkbox with those words."""
    [one for one in tab.all(".playground label.check") if one.text == words][k].click()


def ends(tab: Tab) -> list[tuple[float, float]]:
    """The distance to the data and the spread of each walk, at its end."""
    tab.run("document.activeElement.blur()")
    tab.press(Keys.END)
    tab.until(lambda: tab.run(AT) == 0, "the end")
    distances, spreads = ([float(one.text) for one in tab.all(f".measures .{name}")] for name in ("distance", "spread"))
    return list(zip(distances, spreads, strict=True))


def test_a_field_is_learned_before_ones_eyes(tab: Tab) -> None:
    tab.click("Moons", ".controls")
    tab.until(lambda: "Learning, step" in tab.text(".learning"), "progress", 60)
    tab.run(CHANGED)
    learned(tab)
    assert f"{TRAINING} steps, loss" in tab.text(".learning")
    tab.until(lambda: tab.run(CHANGED) > 0.01, "arrows")
    assert [one.text for one in tab.all(".controls .chip[aria-pressed=true]")] == ["Moons"]


def test_the_field_turns_as_one_drags_the_time(tab: Tab) -> None:
    check(tab, "Show")  # no points
    learned(tab)
    tab.run(CHANGED)
    tab.until(lambda: tab.run(CHANGED) == 0, "rest")
    slider = tab.one("#time")
    drag = ActionChains(tab.driver).move_to_element(slider).click_and_hold()
    drag.move_by_offset(120, 0).release().perform()
    assert 0.1 < tab.run(AT) < 0.5
    tab.until(lambda: tab.run(CHANGED) > 0.01, "a field that has turned")
    at = tab.run(AT)
    tab.press(Keys.ARROW_LEFT)
    assert tab.run(AT) == pytest.approx(at + 0.01, abs=0.006)
    for key in (Keys.HOME, Keys.END) * 2:  # so often nothing else changes: the last field of the learning comes once
        tab.until(lambda: tab.run(CHANGED) == 0, "rest")
        tab.press(key)
        tab.until(lambda: tab.run(CHANGED) > 0.01, "a field that has turned", 5)


def test_points_walk_to_the_data_and_collapse_without_noise(tab: Tab) -> None:
    tab.fill(".numbers label:nth-child(1) input", "150")
    tab.fill(".numbers label:nth-child(2) input", "40")
    check(tab, "Exact field")
    tab.click("Compare with a second walk")

    def is_as_claimed() -> bool:
        found = ends(tab)  # at first perhaps of the walk along the learned field, which the exact one replaces
        return len(found) == 2 and found[0][0] < 0.1 and found[1][1] < 0.75 * found[0][1]

    tab.until(is_as_claimed, "a walk to the data, and one that collapses", 60)
    check(tab, "Two planes side by side")
    tab.until(lambda: len(tab.all(".plane canvas")) == 2, "two planes")
    assert "without noise" in tab.text(".plane:nth-child(2) figcaption")


def test_one_drops_points_that_walk_from_there(tab: Tab) -> None:
    check(tab, "Exact field")
    canvas = tab.one(".plane canvas")
    for x in (-150, 200):
        ActionChains(tab.driver).move_to_element_with_offset(canvas, x, -200).click().perform()
    tab.until(lambda: "2 points that you dropped" in tab.text(".controls"), "dropped points")
    tab.until(lambda: tab.button("Pause", ".scrub") and 0 < tab.run(AT) < 0.97, "a walk that plays")
    tab.run("document.activeElement.blur()")
    tab.press(" ")
    tab.button("Play", ".scrub")
    tab.until(lambda: ends(tab)[0][0] < 0.3, "two points that walked to the spiral", 30)
    tab.click("From noise again")
    assert "that you dropped" not in tab.text(".controls")


def test_what_one_draws_is_learned(tab: Tab) -> None:
    tab.click("Draw your own")
    canvas = tab.one(".plane canvas")
    stroke = ActionChains(tab.driver).move_to_element_with_offset(canvas, -200, -100).click_and_hold()
    stroke.move_by_offset(300, 0).move_by_offset(0, 200).release().perform()
    tab.until(lambda: " points" in tab.text(".controls"), "points")
    tab.click("Done")
    learned(tab)
    assert not tab.all(".controls .chip[aria-pressed=true]"), "none of the shapes"
    tab.click("Draw your own")
    count = int(tab.text(".controls .card:first-child .row .quiet").split()[0])
    assert 30 < count < 200
    tab.click("Clear")
    assert "Draw on the plane" in tab.text(".controls")


def test_one_steps_through_the_scenes(tab: Tab) -> None:
    learned(tab)
    sentences = {tab.text(".sentence")}
    for _ in range(7):
        tab.press("]")
        sentences.add(tab.text(".sentence"))
    assert len(sentences) == 8
    assert not tab.button("The next scene", ".scenes").is_enabled()
    assert [one.text for one in tab.all(".legend li")] == ["no class", "class", "guided"]
    tab.press("[")
    assert "DDIM" in tab.text(".sentence")
    tab.click("Random walk", ".scenes")
    tab.until(lambda: tab.run(AT) > 0.1, "noise that grows")
    tab.press(" ")
    assert tab.button("Play", ".scrub"), "the scene that was clicked pauses"
    tab.prefer(prefers_reduced_motion="reduce")
    tab.click("DDIM", ".scenes")
    assert tab.run(AT) == 0, "with less motion a scene shows its end"
    tab.button("Play", ".scrub")


def test_2000_points_and_a_field_are_drawn_smoothly(tab: Tab) -> None:
    tab.fill(".numbers label:nth-child(1) input", "2000")
    tab.fill(".numbers label:nth-child(2) input", "16")
    learned(tab)
    ends(tab)
    tab.until(lambda: tab.all(".measures li"), "points", 60)
    canvas = tab.one(".plane canvas")
    assert canvas.size["width"] >= 798
    tab.run("for (const name of ['fps', 'slow']) delete arguments[0].dataset[name]", canvas)
    tab.press(" ")
    tab.until(lambda: canvas.get_attribute("data-fps") and tab.run(AT) < 0.2, "frames", 60)
    rate, slow = (float(canvas.get_attribute(f"data-{name}")) for name in ("fps", "slow"))
    print(f"2,000 points, 24 x 24 arrows: {rate} frames a second (median), slowest twentieth {slow}")  # noqa: T201
    assert rate > 10


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1360, 390])
def test_the_plane_fits_and_is_accessible(tab: Tab, scheme: str, width: int) -> None:
    tab.prefer(prefers_color_scheme=scheme, prefers_reduced_motion="reduce")
    tab.resize(width, 844)
    for name in ("Collapse without noise", "Guidance"):
        tab.run("scrollTo(0, 0)")
        tab.click(name, ".scenes")
        check(tab, "Two planes side by side")
        assert tab.run("return document.documentElement.scrollWidth") <= width, name
        assert tab.violations() == [], name
    corner = "return [...document.querySelector('.plane canvas').getContext('2d').getImageData(2, 2, 1, 1).data]"
    ground = {"light": [255, 255, 255, 255], "dark": [27, 31, 34, 255]}[scheme]
    tab.until(lambda: tab.run(corner) == ground, f"a {scheme} plane")
