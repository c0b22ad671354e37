"""Films in a real browser, a headless Chromium: `make system`."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests import strangers_film
from tests.test_files_films import ENDINGS, scene, write

import scorefield as sf
from scorefield.zoo import registry

pytestmark = pytest.mark.system
webdriver = pytest.importorskip("selenium.webdriver", reason="needs the extra `system`")

COUNT, FPS = 17, 8.0
PLAYED = """
const done = arguments[0], video = document.querySelector("video");
video.onerror = () => done({error: video.error.message});
const told = () => done({
  frames: video.getVideoPlaybackQuality().totalVideoFrames, seconds: video.duration,
  size: [video.videoWidth, video.videoHeight],
});
video.loop = false;
video.onended = told;
video.play();
"""
SHOWN = """
const [second, done] = arguments, video = document.querySelector("video");
video.pause();
video.onseeked = () => {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  const context = canvas.getContext("2d");
  context.drawImage(video, 0, 0);
  done([...context.getImageData(0, 0, canvas.width, canvas.height).data]);
};
video.currentTime = second;
"""
DECODED = """
const [url, type, done] = arguments;
(async () => {
  const decoder = new ImageDecoder({data: (await fetch(url)).body, type});
  await decoder.completed;
  await decoder.tracks.ready;
  const {frameCount, repetitionCount} = decoder.tracks.selectedTrack;
  let shown = 0;
  for (let k = 0; k < frameCount; k++) shown += (await decoder.decode({frameIndex: k})).image.duration;
  done([frameCount, repetitionCount === Infinity, shown / 1e6]);
})().catch(error => done([String(error)]));
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    assert chromium, "this test needs Chromium; on Debian: apt-get install chromium chromium-driver"
    assert driver, "this test needs ChromeDriver; on Debian: apt-get install chromium chromium-driver"
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (
        "headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
        "disable-component-update", "disable-sync", "allow-file-access-from-files", "mute-audio",
        f"user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):  # fmt: skip
        options.add_argument(f"--{flag}")
    with webdriver.Chrome(options, webdriver.ChromeService(driver)) as chrome:
        chrome.set_script_timeout(60)
        yield chrome


def opened(browser: Any, folder: Path, body: str) -> None:
    page = folder / "page.html"
    page.write_text(f"<!doctype html><meta charset=utf-8>{body}")
    browser.get(page.as_uri())


def test_a_film_plays_every_frame_in_its_colours(browser: Any, tmp_path: Path) -> None:
    frames = scene(COUNT)
    write(tmp_path / "film.mp4", frames, FPS)
    opened(browser, tmp_path, '<video src="film.mp4" muted></video>')
    played = browser.execute_async_script(PLAYED)
    assert (played.get("error"), played["frames"], played["size"]) == (None, COUNT, [64, 48])
    assert played["seconds"] == pytest.approx(COUNT / FPS, abs=0.01)
    for k in (0, 5, COUNT - 1):
        pixels = browser.execute_async_script(SHOWN, (k + 0.5) / FPS)
        shown = np.array(pixels, np.uint8).reshape(48, 64, 4)[..., :3]
        wrong = [np.abs(shown.astype(int) - np.asarray(frame)).mean() for frame in frames]
        assert wrong[k] < 6
        assert min(range(COUNT), key=wrong.__getitem__) == k


@pytest.mark.parametrize("ending", [ending for ending in ENDINGS if ending in (".webp", ".gif")])
def test_a_moving_picture_has_every_frame_and_repeats(browser: Any, tmp_path: Path, ending: str) -> None:
    write(tmp_path / f"film{ending}", scene(COUNT), FPS)
    opened(browser, tmp_path, "")
    url = (tmp_path / f"film{ending}").as_uri()
    count, endless, seconds = browser.execute_async_script(DECODED, url, f"image/{ending[1:]}")
    assert (count, endless) == (COUNT, True)
    assert seconds == pytest.approx(COUNT / FPS, abs=0.02)


def test_a_notebook_plays_a_result(browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "FAMILIES", list(registry.FAMILIES))
    registry.register(strangers_film.Family())
    result = sf.load("toy-film", device="cpu")("a tree", seed=3, frames=9, fps=6)
    opened(browser, tmp_path, result._repr_html_() or "")
    played = browser.execute_async_script(PLAYED)
    assert (played["frames"], played["size"]) == (9, list(result.films[0].frames[0].size))
