"""Pictures of long and weighted prompts with a small Stable Diffusion: batches, guidance, records, the command line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests import pipelines, tiny
from tests.loading import load, stable
from torch import Tensor

from scorefield.api import Pipeline
from scorefield.cli.main import run
from scorefield.core.cond import Cond
from scorefield.core.level import Level
from scorefield.errors import RequestError
from scorefield.files import picture
from scorefield.guide.cfg import cfg, cfg_batched
from scorefield.notes import UnreadSignsWarning
from scorefield.prompt.rules import Count, Rules

pytestmark = [
    pytest.mark.filterwarnings("ignore::scorefield.notes.UnknownSizeWarning"),
    pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"),
]

SHORT, LONG, LONGER = "a (red:1.4) fox", "a fox, " * 40, "a bear in the snow, " * 40
Pixels = np.ndarray[Any, np.dtype[np.int64]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sd1")
    pipelines.written(folder, tiny.TINY, "epsilon")
    return folder / "model"


@pytest.fixture(scope="module")
def pipe(folder: Path) -> Pipeline:
    return Pipeline(stable(folder, torch.device("cpu"), torch.float32, networks=tiny.TINY))


def drawn(pipe: Pipeline, prompt: str | list[str], **given: Any) -> list[Pixels]:
    result = pipe(prompt, **{"size": 64, "steps": 2, "guidance": 3.0, "seed": 7, "sampler": "euler"} | given)
    return [np.asarray(image).astype(int) for image in result.images]


def test_a_picture_of_a_long_prompt_in_a_batch_is_the_one_that_it_is_alone(pipe: Pipeline) -> None:
    prompts = [SHORT, "a dog", LONG, LONGER, LONG, SHORT]
    together = drawn(pipe, prompts, weighting="a1111", negative_prompt="blurry")
    for k, (prompt, one) in enumerate(zip(prompts, together, strict=True)):
        (alone,) = drawn(pipe, prompt, weighting="a1111", negative_prompt="blurry", seed=7 + k)
        assert abs(one - alone).max() <= 1, prompt
        assert one.std() > 10


def test_neighbours_of_equally_many_chunks_are_a_batch(pipe: Pipeline) -> None:
    batches = pipe.plan(["a fox", "a dog", LONG, LONG, LONGER, "a fox"], seed=1, batch_size=2).batches
    assert [(batch.first, len(batch.seeds)) for batch in batches] == [(0, 2), (2, 2), (4, 1), (5, 1)]
    assert [seed for batch in batches for seed in batch.seeds] == [1, 2, 3, 4, 5, 6]
    batches = pipe.plan(["a fox"] * 5 + [LONG] * 3, batch_size=4).batches
    assert [(batch.first, len(batch.seeds)) for batch in batches] == [(0, 4), (4, 1), (5, 3)]
    with pytest.raises(RequestError, match="different numbers of chunks"):
        pipe.stream(["a fox", LONG])


def test_tokens_after_the_75th_are_read(pipe: Pipeline) -> None:
    (one,), (other,) = (drawn(pipe, "a fox, " * 25 + end * 50) for end in ("snow ", "sun "))
    assert abs(one - other).max() > 5


def test_neither_prompt_is_filled_up_to_the_length_of_the_other(pipe: Pipeline) -> None:
    """Two forwards where the lengths differ; a condition twice over is no other to attention, and makes one of them."""
    denoiser, rules = pipe.stage.denoiser, Rules(long_prompt="chunks")
    pos, neg = pipe.stage.conditioner([LONG], rules), pipe.stage.conditioner(["blurry"], rules)
    assert pos.tokens is not None
    assert neg.tokens is not None
    assert pos.tokens.shape[1] == 2 * neg.tokens.shape[1]
    twice = Cond(tokens=torch.cat([neg.tokens, neg.tokens], 1))
    x, at = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0)), Level(1.0, 2.0)
    ours = cfg_batched(denoiser, pos, neg, 3.0)(x, at)

    def bound(cond: Cond) -> Any:
        return lambda x, at: denoiser(x, at, cond)

    torch.testing.assert_close(ours, cfg(bound(pos), bound(neg), 3.0)(x, at), rtol=0, atol=0)
    torch.testing.assert_close(ours, cfg_batched(denoiser, pos, twice, 3.0)(x, at), rtol=0, atol=1e-4)
    empty = pipe.stage.conditioner([""], rules).tokens
    assert isinstance(empty, Tensor)
    padded = Cond(tokens=torch.cat([neg.tokens, empty], 1))
    assert (ours - cfg_batched(denoiser, pos, padded, 3.0)(x, at)).abs().max() > 1e-3


def test_a_weight_is_seen_and_only_under_a_rule(pipe: Pipeline) -> None:
    pictures = {rule: drawn(pipe, SHORT, weighting=rule)[0] for rule in ("a1111", "comfy")}
    (plain,) = drawn(pipe, "a red fox")
    assert abs(pictures["a1111"] - plain).max() > 2
    assert abs(pictures["comfy"] - plain).max() > 2
    assert abs(pictures["a1111"] - pictures["comfy"]).max() > 0
    (compels,) = drawn(pipe, "a (red)1.4 fox", weighting="compel")
    assert abs(compels - pictures["comfy"]).max() <= 1  # more is the same in both
    with pytest.warns(UnreadSignsWarning, match=r"the weighting none gives no meaning to \(red:1.4\)"):
        drawn(pipe, SHORT)


def test_a_negative_prompt_is_weighed_too(pipe: Pipeline) -> None:
    (some,), (more,) = (drawn(pipe, "a fox", negative_prompt=f"(red:{w})", weighting="a1111") for w in (1.0, 1.6))
    assert abs(some - more).max() > 2


def test_tokens_are_counted_on_request(pipe: Pipeline) -> None:
    assert pipe.tokens("a red car") == Count(3, 75, 1)
    assert pipe.tokens("a (red:1.3) car", weighting="a1111").tokens == 3
    assert pipe.tokens(LONG) == Count(120, 75, 2)


def test_the_scenes_weigh_nothing_and_read_no_chunks() -> None:
    scenes = Pipeline(load("scenes"))
    assert scenes.tokens("a tree in the desert") == Count(5, 30, 1)
    with pytest.raises(RequestError, match="weighting is not an option of the model scenes; it is for"):
        scenes.plan("a (tree:1.3)", weighting="a1111")
    with pytest.raises(RequestError, match="long_prompt is not an option of the model scenes; it is for"):
        scenes.plan("a tree", long_prompt="chunks")
    with pytest.raises(RequestError, match="clip_skip is not an option of the model scenes; it is for"):
        scenes.plan("a tree", clip_skip=2)
    with pytest.raises(RequestError, match="this model reads at most 30"):
        scenes.plan("tree " * 40)
    assert scenes.plan("a tree").request.long_prompt == "refuse"


@pytest.mark.parametrize("options", [{"weighting": "a111"}, {"long_prompt": "cut"}])
def test_a_rule_that_does_not_exist_is_one_line(pipe: Pipeline, options: dict[str, Any]) -> None:
    with pytest.raises(
        RequestError, match=r"(weighting must be none, a1111, comfy or compel|long_prompt must be chunks)"
    ):
        pipe.plan("a fox", **options)


def scorefield(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str, str]:
    code = run([str(arg) for arg in args])
    out, err = capsys.readouterr()
    return code, out, err


def test_the_command_line_tells_the_tokens_and_replays(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    options = [
        "-m",
        folder,
        "--steps",
        2,
        "--size",
        64,
        "--seed",
        3,
        "--weighting",
        "a1111",
        "-n",
        "(blurry:1.2)",
    ]
    code, out, err = scorefield(capsys, "generate", LONG, *options)
    assert code == 0
    assert "tokens: 120 of 75, read in 2 chunks; negative prompt 1 of 75\n" in err
    _, history = picture.read(Path(out.strip()))
    assert history.a1111 is not None
    assert history.a1111.pairs["Weighting"] == "a1111"
    assert history.a1111.pairs["Long prompt"] == "chunks"
    assert history.ours is not None
    assert history.ours["request"]["weighting"] == "a1111"  # type: ignore[index]
    assert scorefield(capsys, "replay", out.strip())[:2] == (0, "identical\n")
    code, out, err = scorefield(capsys, "generate", "a fox", LONG, *options, "--dry-run", "--format", "json")
    assert (code, "tokens" in err) == (0, False)
    counts = {"prompts": [Count(2, 75, 1)._asdict(), Count(120, 75, 2)._asdict()]}
    assert json.loads(out)["tokens"] == counts | {"negative_prompt": Count(1, 75, 1)._asdict()}
    code, out, err = scorefield(capsys, "generate", "a fox", LONG, *options, "--dry-run")
    assert "tokens: 120 of 75, read in 2 chunks (the longest of 2 prompts); negative prompt 1 of 75\n" in out
    code, out, err = scorefield(capsys, "generate", LONG, *options, "--long-prompt", "refuse")
    assert (code, out) == (2, "")
    assert "the prompt has 120 tokens, 45 more than the 75 that this model reads" in err.splitlines()[-1]
    code, out, err = scorefield(capsys, "generate", "a [fox:bear:0.5] AND a dog", *options, "--dry-run")
    (warning,) = [line for line in err.splitlines() if "the weighting a1111" in line]
    assert warning.startswith(
        "warning: the weighting a1111 gives no meaning to [fox:bear:0.5], AND: it is read as plain text"
    )


def test_a_prompt_of_10000_words_is_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = scorefield(capsys, "generate", "tree " * 10_000, "-m", folder)
    assert (code, out) == (2, "")
    assert "a prompt of 50000 characters is too long; the limit is 10000" in err.splitlines()[-1]
