"""The page in a real browser, a headless Chromium, on a server of its own: `make system`."""

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn
from PIL import Image
from selenium.webdriver.common.keys import Keys
from tests import strangers_film, toy
from tests.browsers import Tab, chromium
from tests.servers import Served, open_jobs, wait
from tests.test_server_records import A1111, png

from scorefield.model.spec import ModelSpec
from scorefield.server.app import build
from scorefield.server.settings import Settings
from scorefield.zoo import registry

pytestmark = pytest.mark.system

WATCHED = """
window.seen = {previews: new Set(), boxes: new Set(), first: 0, start: performance.now()};
new MutationObserver(() => {
  const image = document.querySelector(".sheet img"), sheet = document.querySelector(".sheet:not(.empty)");
  if (sheet && sheet.isConnected) {
    const {x, y, width, height} = sheet.getBoundingClientRect();
    seen.boxes.add([x, y + scrollY, width, height].map(Math.round).join());
  }
  if (image?.src.startsWith("data:")) {
    seen.first ||= performance.now() - seen.start;
    seen.previews.add(image.src);
  }
}).observe(document.body, {subtree: true, childList: true, attributes: true});
"""
SEEN = "return {previews: seen.previews.size, boxes: [...seen.boxes], first: seen.first}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def driver(folder: Path) -> Iterator[Any]:
    with chromium(folder) as driver:
        yield driver


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Served]:
    with Served(folder / "server") as served:
        yield served


@pytest.fixture
def client(served: Served) -> Iterator[httpx.Client]:
    with served.client() as client:
        yield client


@pytest.fixture
def tab(driver: Any, served: Served) -> Iterator[Tab]:
    """The page as a new visitor finds it; the console stays silent."""
    tab = Tab(driver, served.address)
    driver.get(served.address)
    tab.run("localStorage.clear()")
    tab.resize(1360)
    tab.prefer(prefers_color_scheme="light")
    tab.log()
    tab.open()
    yield tab
    assert tab.log() == []


def draw(tab: Tab, prompt: str, **options: object) -> None:
    for name, value in options.items():
        tab.fill(f"#option-{name}", str(value))
    tab.fill("#prompt", prompt)
    tab.press(Keys.CONTROL, Keys.ENTER)


def settled(tab: Tab, text: str = "Done") -> None:
    tab.until(lambda: text in tab.text(".stage .status"), text, 60)


def newest(client: httpx.Client) -> dict[str, Any]:
    job: dict[str, Any] = client.get("/jobs", params={"limit": 1}).json()["jobs"][0]
    return job


def drawn(client: httpx.Client, prompt: str, **options: object) -> dict[str, Any]:
    job = client.post("/jobs", json={"prompts": prompt, "steps": 3, "seed": 1, **options}).json()
    return wait(client, job["id"])


def test_a_picture_forms_before_ones_eyes(tab: Tab) -> None:
    tab.run(WATCHED)
    draw(tab, "a red glorpy car on the beach", steps=12)
    settled(tab)
    seen = tab.run(SEEN)
    assert 5 <= seen["previews"] <= 11, "steps 1 to 11 have a preview each; a slow reader may miss some"
    assert seen["first"] < 5000  # ms, from before the prompt was typed
    assert len(seen["boxes"]) == 1, f"the picture moved while it formed: {seen['boxes']}"
    assert tab.one(".sheet img").get_attribute("src").endswith("/outputs/0")
    assert tab.text(".behind mark") == "glorpy"
    assert "never saw glorpy" in tab.text(".stage .notes")
    assert tab.text(".box.main .count") == "6 of 30 tokens"


def test_drawing_stops_at_once(tab: Tab, client: httpx.Client) -> None:
    draw(tab, "a tree in the desert", steps=140)
    tab.until(lambda: "Step" in tab.text(".stage .status"), "step")
    tab.press(Keys.ESCAPE)
    settled(tab, "Stopped")
    assert newest(client)["state"] == "cancelled"


def test_a_refusal_is_said_where_it_belongs(tab: Tab) -> None:
    draw(tab, "a tree", steps=999)
    assert "at most 150" in tab.text(".field[data-wrong=true] .error")
    tab.fill("#option-steps", "3")
    assert not tab.all(".field[data-wrong=true]")
    assert [line for line in tab.log() if "400 (Bad Request)" not in line] == []  # Chromium logs what was refused


def test_the_gallery_is_searched_reused_and_emptied(tab: Tab, client: httpx.Client) -> None:
    job = drawn(client, "a purple umbrella in a room", cfg_scale=2.5, seed=2**60 + 1)
    tab.open()
    tab.press("/")
    tab.one("input[type=search]").send_keys("UMBRELLA")
    tab.until(lambda: {one.text for one in tab.all(".gallery .caption")} == {"a purple umbrella in a room"}, "result")
    tab.one(".gallery .tile").click()
    assert str(2**60 + 1) in tab.text(".settings-list")
    tab.click("Use these settings", "dialog")
    assert tab.one("#prompt").get_attribute("value") == "a purple umbrella in a room"
    assert tab.one("#option-cfg_scale").get_attribute("value") == "2.5"
    assert tab.one("[aria-label=Seed]").get_attribute("value") == str(2**60 + 1)
    tab.one(".gallery .tile").click()
    tab.click("Delete", "dialog")
    tab.until(lambda: "No prompt contains" in tab.text(".gallery"), "empty result")
    assert client.get(f"/jobs/{job['id']}").status_code == 404


def test_older_pictures_come_as_one_scrolls(tab: Tab, client: httpx.Client) -> None:
    for k in range(45):
        client.post("/jobs", json={"prompts": f"a small star {k}", "steps": 1, "width": 64, "height": 64})
    wait(client, newest(client)["id"])
    tab.open()
    tab.fill("input[type=search]", "a small star")
    tab.until(lambda: len(tab.all(".gallery .tile")) >= 40, "first page")  # the next one comes before its end is seen
    tab.run("document.querySelector('.more-jobs').scrollIntoView()")
    tab.until(lambda: len(tab.all(".gallery .tile")) == 45, "second page")


def test_a_dropped_picture_gives_its_settings(tab: Tab, client: httpx.Client) -> None:
    job = drawn(client, "a blue boat at sea", sampler="heun", negative_prompt="a tree")
    tab.drop(client.get(job["outputs"][0]["url"]).content, "Take its settings")
    tab.until(lambda: tab.one("#prompt").get_attribute("value") == "a blue boat at sea", "prompt")
    assert tab.one("#negative").get_attribute("value") == "a tree"
    assert tab.one("#option-sampler").get_attribute("value") == "heun"
    tab.drop(png(parameters=A1111), "Take its settings")
    tab.until(lambda: tab.one("#prompt").get_attribute("value") == "a (red:1.2) car", "prompt")
    assert tab.one("#option-schedule").get_attribute("value") == "karras"
    assert tab.one("#height").get_attribute("value") == "768"
    assert "somewhere' is not on this server" in tab.text(".toasts")


def test_a_dropped_picture_is_a_start(tab: Tab, client: httpx.Client) -> None:
    start = client.get(drawn(client, "a red apple on the grass")["outputs"][0]["url"]).content
    tab.drop(start, "Start from a picture")
    tab.one(".given .thumb img")
    draw(tab, "a green apple on the grass", steps=4, strength=0.5)
    settled(tab)
    job = newest(client)
    assert job["request"]["strength"] == 0.5
    assert client.get(f"/jobs/{job['id']}/given/image").content == start
    tab.open()
    tab.one(".gallery .tile").click()
    tab.click("Use these settings", "dialog")
    tab.one(".given .thumb img")  # the picture itself comes back, from the server


def test_a_painted_mask_is_white_where_it_is_painted(tab: Tab, client: httpx.Client) -> None:
    start = client.get(drawn(client, "a house in the snow")["outputs"][0]["url"]).content
    tab.drop(start, "Start from a picture")
    tab.click("Paint a mask")
    sheet = tab.one(".mask-sheet canvas")

    def stroke(x: int, y: int) -> None:
        from selenium.webdriver import ActionChains

        ActionChains(tab.driver).move_to_element_with_offset(sheet, x, y).click_and_hold().release().perform()

    stroke(0, 0)
    stroke(-200, -200)
    tab.press(Keys.CONTROL, "z")
    tab.click("Invert", "dialog")
    tab.click("Invert", "dialog")
    tab.click("Use this mask")
    draw(tab, "a tent in the snow", steps=3)
    settled(tab)
    mask = Image.open(BytesIO(client.get(f"/jobs/{newest(client)['id']}/given/mask").content)).convert("L")
    white = np.asarray(mask) > 127
    assert mask.size == (128, 128)
    assert white[64, 64], "the stroke in the middle"
    assert not white[:40].any(), "the stroke that was undone"
    assert 0.01 < white.mean() < 0.05  # a disc of 15 % of the side has 1.8 % of the area
    tab.click("Change the mask")
    tab.click("Clear", "dialog")
    tab.click("Use no mask", "dialog")
    assert not tab.all(".thumb .mask")


def test_a_grid_has_a_cell_for_each_pair_of_values(tab: Tab, client: httpx.Client, folder: Path) -> None:
    tab.fill("#prompt", "a yellow star at night")
    tab.run("document.querySelector('.grid-form').open = true")
    tab.fill("[aria-label='Across: values']", "1-3:2")
    tab.fill("[aria-label='Down: values']", "1, 4, 7")
    tab.click("Draw 6 pictures")
    tab.until(lambda: "6 of 6" in tab.text(".stage .status"), "grid", 60)
    assert [one.text for one in tab.all("th[scope=col]")] == ["Steps 1", "Steps 3"]
    assert [one.text for one in tab.all("th[scope=row]")] == ["Guidance 1", "Guidance 4", "Guidance 7"]
    jobs = client.get("/jobs", params={"limit": 6}).json()["jobs"]
    pairs = {(job["request"]["steps"], job["request"]["cfg_scale"]) for job in jobs}
    assert pairs == {(steps, scale) for steps in (1, 3) for scale in (1, 4, 7)}
    assert len({job["request"]["seed"] for job in jobs}) == 1
    tab.until(lambda: all(tab.run("return arguments[0].naturalWidth", one) for one in tab.all("td img")), "pictures")
    tab.click("Download as one picture")
    path = tab.until(lambda: next(iter(folder.glob("grid-*.png")), None), "download")
    assert Image.open(path).size == (140 + 2 * 134, 56 + 3 * 134)
    tab.open()
    tab.run("document.querySelector('.grid-form').open = true")
    tab.click("Show the last grid")
    tab.until(lambda: len(tab.all("td img")) == 6, "grid after loading anew")


def test_one_walks_through_the_steps_of_any_picture(tab: Tab, client: httpx.Client) -> None:
    job = drawn(client, "a horse in a meadow", steps=6, count=2)
    tab.open(f"/inside/{job['id']}/1")
    tab.click("Draw it again")
    tab.until(lambda: tab.text(".step-text") == "3 of 6", "walk", 60)
    again = newest(client)
    assert again["outputs"][0]["seed"] == job["outputs"][1]["seed"]
    first, second = (client.get(one["url"]).content for one in (job["outputs"][1], again["outputs"][0]))
    assert Image.open(BytesIO(first)).tobytes() == Image.open(BytesIO(second)).tobytes()
    for key, step in ((Keys.ARROW_RIGHT, 4), (Keys.ARROW_LEFT, 3), (Keys.HOME, 0), (Keys.END, 6)):
        tab.press(key)
        tab.until(lambda step=step: tab.text(".step-text") == f"{step} of 6", f"step {step}")
        assert f"/steps/{step}/noisy" in tab.one(".pane img").get_attribute("src")
    spread = (
        "const canvas = document.querySelector('.pane canvas'), context = canvas.getContext('2d');"
        "const data = context.getImageData(0, 0, canvas.width, canvas.height).data.filter((_, k) => k % 4 < 3);"
        "return Math.max(...data) - Math.min(...data)"
    )
    tab.until(lambda: tab.run(spread) <= 2, "grey at the end, where nothing is noise")
    tab.press(Keys.HOME)
    tab.until(lambda: tab.run(spread) > 60, "noise at the start")
    assert tab.text(".curves").split("\n") == ["signal α 0.000", "noise σ 1.000"]
    tab.open(f"/inside/{job['id']}/1")
    tab.click("Draw it again")
    tab.one(".step-text")
    assert newest(client)["id"] == again["id"], "the steps that are kept are found again"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1360, 390])
def test_it_fits_and_is_accessible(tab: Tab, client: httpx.Client, scheme: str, width: int) -> None:
    job = drawn(client, "a cat in a very long prompt " + "of many words " * 8, steps=4, keep_steps=True)
    tab.prefer(prefers_color_scheme=scheme)
    tab.resize(width, 844)

    def check(where: str) -> None:
        assert tab.run("return document.documentElement.scrollWidth") <= width, where
        assert tab.violations() == [], where

    tab.open()
    tab.one(".gallery .tile img")
    tab.run("document.querySelectorAll('details').forEach(one => { one.open = true })")
    check("make")
    dark = tab.run("return matchMedia('(prefers-color-scheme: dark)').matches")
    ground = tab.run("return getComputedStyle(document.documentElement).backgroundColor")
    assert (dark, ground) == (scheme == "dark", {"light": "rgb(246, 246, 244)", "dark": "rgb(19, 22, 24)"}[scheme])
    tab.one(".gallery .tile").click()
    tab.one("dialog[open]")
    check("a picture")
    tab.press(Keys.ESCAPE)
    tab.drop(png(), "Start from a picture")
    tab.click("Paint a mask")
    check("the mask")
    tab.press(Keys.ESCAPE)
    tab.run("document.activeElement.blur()")
    tab.press("?")
    tab.one("dialog[open] kbd")
    check("shortcuts")
    tab.open(f"/inside/{job['id']}/0")
    tab.one(".curves svg")
    check("inside")
    tab.open("/inside")
    tab.one(".tiles img")
    check("the choice of a picture")


def test_the_colours_can_be_chosen_and_are_kept(tab: Tab) -> None:
    ground = "return getComputedStyle(document.documentElement).backgroundColor"
    tab.press("t")
    tab.press("t")
    assert tab.run(ground) == "rgb(19, 22, 24)"
    tab.open()
    assert tab.run(ground) == "rgb(19, 22, 24)"
    tab.press("t")
    assert tab.run(ground) == "rgb(246, 246, 244)"


def test_a_server_with_a_key_asks_for_it(driver: Any, folder: Path) -> None:
    with Served(folder / "locked", "--api-key", "open sesame") as served:
        tab = Tab(driver, served.address)
        tab.open()
        tab.fill("dialog input", "wrong")
        tab.click("Open the page")
        tab.until(lambda: "the key is wrong" in tab.text("dialog"), "refusal")
        tab.fill("dialog input", "open sesame")
        tab.click("Open the page")
        tab.until(lambda: not tab.all("dialog"), "page")
        draw(tab, "a key", steps=2)
        settled(tab)
        tab.until(lambda: tab.run("return arguments[0].naturalWidth", tab.one(".sheet img")), "picture")
        driver.delete_all_cookies()
        driver.get("about:blank")
        tab.log()  # Chromium logs what was refused


class Films(strangers_film.Family):
    """A film model that the server lists."""

    def specs(self) -> Sequence[ModelSpec]:
        return (replace(toy.TOY, name="toy-film"),)


@pytest.fixture
def films(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a server, in this process, that has a film model."""
    monkeypatch.setattr(registry, "FAMILIES", [*registry.FAMILIES, Films()])
    app = build(open_jobs(folder / "films"), Settings(port=0))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


def test_films_play_and_have_their_own_options(driver: Any, films: str) -> None:
    tab = Tab(driver, films)
    tab.resize(1360)
    tab.log()
    tab.open()
    tab.until(lambda: len(tab.all("#model option")) == 2, "models")
    assert not tab.all("#option-frames")
    tab.one("#model").send_keys("toy-film")
    draw(tab, "a tree", steps=2, frames=9)
    settled(tab)
    film = tab.one(".sheet video")
    tab.until(lambda: tab.run("return arguments[0].currentTime", film) > 0.1, "moving film")
    assert tab.run("return arguments[0].duration", film) == pytest.approx(9 / 8, abs=0.05)
    tab.one(".gallery .tile video")
    assert tab.log() == []
