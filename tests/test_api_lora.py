"""LoRAs from the front door: a pipeline beside the first, what its pictures record, and the command line."""

import copy
import functools
import json
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from docs.notebooks.tiny_stable import tiny_stable
from PIL import Image
from safetensors.torch import load_file, save_file
from tests.loading import with_loras
from torch import Tensor

import scorefield as sf
from scorefield.adapters.compiled import compiled
from scorefield.api import Pipeline
from scorefield.cli.main import run
from scorefield.core.denoiser import Preconditioned
from scorefield.errors import DamagedError, RequestError, UnsupportedError
from scorefield.files.picture import read
from scorefield.model.system import System
from scorefield.nets.packed import dense, unpack
from scorefield.nets.shared_copy import twin
from scorefield.nets.unet import SD1, SD2, SDXL, Unet
from scorefield.notes import UnusedKeysWarning
from scorefield.request import Lora, Request, parse
from scorefield.weights.lora.merge import Scales

QKV = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_k"
WORDS = "lora_te_text_model_encoder_layers_1_mlp_fc1"
IN = "down_blocks_0_resnets_0_conv1"
CHANGED = {"middle.0.transformer.blocks.0.self_attention.qkv.weight", "down.0.stages.0.residual.conv1.weight"}

pytestmark = pytest.mark.filterwarnings("ignore::scorefield.notes.UnknownSizeWarning")


def halves(layer: str, outs: int, ins: int, *kernel: int, seed: int) -> dict[str, Tensor]:
    source = torch.Generator().manual_seed(seed)
    down = torch.randn(2, ins, *kernel, generator=source) * 0.3
    up = torch.randn(outs, 2, *(1 for _ in kernel), generator=source)
    return {f"{layer}.lora_down.weight": down, f"{layer}.lora_up.weight": up, f"{layer}.alpha": torch.tensor(1.0)}


def tensors(seed: int = 0) -> dict[str, Tensor]:
    unet = halves(QKV, 64, 64, seed=seed) | halves(f"lora_unet_{IN}", 32, 32, 3, 3, seed=seed + 1)
    return unet | halves(WORDS, 128, 32, seed=seed + 2)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_stable(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def pipe(base: Path) -> Pipeline:
    return sf.load(str(base), device="cpu")


@pytest.fixture
def style(tmp_path: Path) -> Path:
    save_file(tensors(), tmp_path / "style.safetensors")
    return tmp_path / "style.safetensors"


def drawn(pipe: Pipeline) -> Tensor:
    image = pipe("a tree", size=64, steps=2, seed=3).image
    return torch.from_numpy(np.asarray(image).astype(int))


def weights(model: System) -> dict[str, Tensor]:
    return dict(model.stages[0].denoiser.net.named_parameters())


def test_a_pipeline_with_a_lora_shares_with_the_first_all_that_it_leaves_alone(pipe: Pipeline, style: Path) -> None:
    before = {name: weight.clone() for name, weight in weights(pipe.system).items()}
    picture = drawn(pipe)
    changed = pipe.with_loras([(style, 0.8)])
    assert (drawn(changed) - picture).abs().max() > 10
    ours, theirs = weights(pipe.system), weights(changed.system)
    assert {name for name in ours if ours[name].data_ptr() != theirs[name].data_ptr()} == CHANGED
    assert not any(weight.requires_grad for weight in theirs.values())
    assert theirs["down.0.stages.0.residual.conv1.weight"].is_contiguous(memory_format=torch.channels_last)
    assert changed.stage.codec is pipe.stage.codec
    assert all(torch.equal(weight, before[name]) for name, weight in weights(pipe.system).items())
    assert torch.equal(drawn(pipe), picture)  # to unload is to go back


def test_a_file_whose_name_holds_a_colon_and_no_number_is_that_file(pipe: Pipeline, style: Path) -> None:
    named = shutil.copy(style, style.with_name("style.safetensors:abc"))
    for given in (named, f"{named}:1"):
        assert [one.path for one in pipe.with_loras([given]).system.loras] == [str(named)]


def test_scale_0_draws_the_identical_picture(pipe: Pipeline, style: Path) -> None:
    assert torch.equal(drawn(pipe.with_loras([(style, 0)])), drawn(pipe))


def test_load_takes_loras_in_every_form(base: Path, pipe: Pipeline, style: Path) -> None:
    wanted, whole = pipe.with_loras([(style, 0.5)]).system.loras, pipe.with_loras([style]).system.loras
    for given in (f"{style}:0.5", (str(style), 0.5), Lora(path=str(style), scale=0.5)):
        assert pipe.with_loras([given]).system.loras == wanted
    assert (wanted[0].scales, whole[0].scales) == ((0.5, 0.5), (1, 1))
    assert torch.equal(drawn(sf.load(str(base), device="cpu", loras=[style])), drawn(pipe.with_loras([style])))


def test_the_text_encoder_alone_can_be_changed(pipe: Pipeline, tmp_path: Path) -> None:
    save_file(halves(WORDS, 128, 32, seed=0), tmp_path / "words.safetensors")
    changed = pipe.with_loras([tmp_path / "words.safetensors"]).system
    assert weights(changed).keys() == weights(pipe.system).keys()
    assert all(weight is weights(pipe.system)[name] for name, weight in weights(changed).items())
    ours, theirs = (model.stages[0].conditioner(["a tree"]).tokens for model in (changed, pipe.system))
    assert ours is not None
    assert theirs is not None
    assert ours.isfinite().all()
    assert (ours - theirs).abs().max() > 0.1


def test_in_bfloat16_the_weights_are_those_of_bfloat16_with_the_lora_and_packed_as_the_others(
    base: Path, style: Path
) -> None:
    plain = sf.load(str(base), device="cpu", dtype="bfloat16")
    changed = plain.with_loras([(style, 0.8)])
    unpacked = twin(plain.stage.denoiser)
    unpack(unpacked)
    wide = replace(plain.stage, denoiser=copy.deepcopy(unpacked).float())
    wider = with_loras(replace(plain.system, stages=(wide,)), [(str(style), Scales(0.8, 0.8))])
    ours, theirs = weights(plain.system), weights(changed.system)
    for name, weight in weights(wider).items():
        assert torch.equal(dense(theirs[name]), weight.to(torch.bfloat16)), name
        assert theirs[name].is_mkldnn == ours[name].is_mkldnn
        assert (theirs[name] is not ours[name]) == (name in CHANGED)
    assert drawn(changed).float().std() > 1


def test_the_table_of_tokens_can_be_changed(pipe: Pipeline, tmp_path: Path) -> None:
    path, table = tmp_path / "table.safetensors", "lora_te_text_model_embeddings_token_embedding"
    save_file(halves(table, 49408, 32, seed=0), path)
    learned = torch.randn(1, 32, generator=torch.Generator().manual_seed(5))
    save_file({"<cat>": learned}, tmp_path / "cat.safetensors")
    taught = pipe.with_embeddings([tmp_path / "cat.safetensors"])
    for prompt in ("a tree", "<cat>"):
        ours, theirs = (
            one.system.stages[0].conditioner([prompt]).tokens for one in (taught.with_loras([path]), taught)
        )
        assert ours is not None
        assert theirs is not None
        assert ours.isfinite().all()
        assert (ours - theirs).abs().max() > 0.1  # the start and the end are of the table, too
    (table_with, both) = (
        one.system.stages[0].conditioner.table for one in (pipe.with_loras([path]), taught.with_loras([path]))
    )  # type: ignore[attr-defined]
    assert torch.equal(table_with.known.weight, both.known.weight)
    assert torch.equal(both.learned, learned)


def test_two_threads_with_and_without_a_lora_get_what_each_gets_alone(pipe: Pipeline, style: Path) -> None:
    both = [pipe, pipe.with_loras([style])]
    alone = [drawn(one) for one in both]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(drawn, both * 3))
    assert all(torch.equal(one, other) for one, other in zip(alone * 3, together, strict=True))


def test_a_picture_records_the_file_the_scale_and_the_hash(pipe: Pipeline, style: Path, tmp_path: Path) -> None:
    result = pipe.with_loras([(style, 0.8)])("a tree", size=64, steps=1, seed=1)
    hashed = sha256(style.read_bytes()).hexdigest()
    assert result.request.loras == (Lora(path=str(style), scale=0.8, sha256=hashed),)
    (path,) = result.save(tmp_path)
    history = read(path)[1]
    assert history.ours is not None
    told = {"path": str(style), "scale": 0.8, "text_scale": None, "sha256": hashed}
    assert history.ours["request"]["loras"] == [told]  # type: ignore[index]
    assert history.ours["sha256"] == pipe.system.sha256
    assert history.a1111 is not None
    assert history.a1111.pairs["Lora hashes"] == f"style: {hashed[:10]}"
    assert history.a1111.prompt == "a tree <lora:style:0.8>"
    assert "Lora hashes" not in read(pipe("a tree", size=64, steps=1, seed=1).save(tmp_path)[0])[1].a1111.pairs  # type: ignore[union-attr]


def test_a_separate_scale_for_the_text_encoder_changes_that_alone(pipe: Pipeline, style: Path, tmp_path: Path) -> None:
    def two(unet: float, te: float) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        model = pipe.with_loras([(style, {"unet": unet, "te": te})]).system
        return weights(model), dict(model.stages[0].conditioner.encoder.named_parameters())  # type: ignore[attr-defined]

    both = two(0.8, 0.5)
    for found, alone in zip(both, (two(0.8, 0.8)[0], two(0.5, 0.5)[1]), strict=True):
        assert all(torch.equal(found[name], weight) for name, weight in alone.items())
    assert not torch.equal(both[1]["blocks.1.fc1.weight"], two(0.8, 0.8)[1]["blocks.1.fc1.weight"])
    result = pipe.with_loras([f"{style}:te=0.5:unet=0.8"])("a tree", size=64, steps=1, seed=1)
    (recorded,) = result.request.loras
    assert (recorded.scale, recorded.text_scale) == (0.8, 0.5)
    assert pipe.with_loras([f"{style}:te=0.8:unet=0.8"]).plan("a tree", size=64).request.loras[0].text_scale is None
    history = read(result.save(tmp_path)[0])[1]
    assert history.a1111 is not None
    assert history.a1111.prompt == "a tree <lora:style:0.5:0.8>"  # A1111's order: the text encoder's first


def test_a_request_for_other_loras_than_are_there_is_refused(pipe: Pipeline, style: Path) -> None:
    changed = pipe.with_loras([(style, 0.8)])
    settled = changed.plan("a tree", size=64).request
    assert isinstance(settled, Request)
    assert changed.plan(settled).request == settled
    (lora,) = settled.loras
    others = [lora.model_copy(update=one) for one in ({"scale": 0.7}, {"text_scale": 0.5}, {"sha256": "0" * 64})]
    for other in ((), *((one,) for one in others)):
        with pytest.raises(RequestError, match="was not loaded with the loras"):
            changed.plan(settled.model_copy(update={"loras": other}))
    with pytest.raises(RequestError, match="was not loaded with the loras"):
        pipe.plan(settled)


def test_a_compiled_model_with_loras_is_compiled(pipe: Pipeline, style: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    fast = Pipeline(compiled(pipe.system)).with_loras([style])
    assert fast.system.choice.compiled
    assert len(fast.system.loras) == 1
    assert fast.stage.denoiser.net._compiled_call_impl is not None


def test_loras_are_given_all_at_once(pipe: Pipeline, style: Path) -> None:
    with pytest.raises(RequestError, match="already has LoRAs: give all of them together to the model without any"):
        pipe.with_loras([style]).with_loras([style])
    assert pipe.with_loras([]).system is pipe.system


def test_loras_and_learned_words_go_together_in_any_order(pipe: Pipeline, style: Path, tmp_path: Path) -> None:
    save_file({"<cat>": torch.randn(1, 32, generator=torch.Generator().manual_seed(5))}, tmp_path / "cat.safetensors")
    learned = [tmp_path / "cat.safetensors"]
    both = [pipe.with_loras([style]).with_embeddings(learned), pipe.with_embeddings(learned).with_loras([style])]
    first, second = (one.system.stages[0].conditioner(["a <cat>"]).tokens for one in both)
    assert first is not None
    assert second is not None
    assert torch.equal(first, second)
    assert [len(one.system.loras) + len(one.embeddings) for one in both] == [2, 2]
    for other in (pipe.with_loras([style]), pipe.with_embeddings(learned)):
        apart = other.stage.conditioner(["a <cat>"]).tokens
        assert apart is not None
        assert (first - apart).abs().max() > 0.1


def test_the_embedded_model_takes_none(style: Path) -> None:
    with pytest.raises(UnsupportedError, match="the model scenes takes no LoRA"):
        sf.load(loras=[style])


def _of_the_size(pipe: Pipeline, config: object) -> Pipeline:
    """A pipeline whose U-Net has the names and shapes of a published one, and no numbers."""
    with torch.device("meta"):
        net = Unet(config)  # type: ignore[arg-type]
    old = pipe.stage.denoiser
    stage = replace(pipe.stage, denoiser=Preconditioned(net, old.prediction, old.clock))
    return Pipeline(replace(pipe.system, stages=(stage,)))


@pytest.mark.parametrize(
    ("config", "words", "told"),
    [
        (SD1, 1024, "is a LoRA for Stable Diffusion 2; this model is a Stable Diffusion 1"),
        (SD1, 2048, "is a LoRA for Stable Diffusion XL; this model is a Stable Diffusion 1"),
        (SD2, 768, "is a LoRA for Stable Diffusion 1; this model is a Stable Diffusion 2"),
        (SDXL, 768, "is a LoRA for Stable Diffusion 1; this model is a Stable Diffusion XL"),
    ],
)
def test_a_lora_of_another_family_is_refused(
    pipe: Pipeline, tmp_path: Path, config: object, words: int, told: str
) -> None:
    layer = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
    save_file(halves(layer, 320, words, seed=0), tmp_path / "x.safetensors")
    with pytest.raises(UnsupportedError) as caught:
        _of_the_size(pipe, config).with_loras([tmp_path / "x.safetensors"])
    assert str(caught.value) == f"{tmp_path / 'x.safetensors'} {told}"


def test_keys_that_are_not_used_are_one_warning(pipe: Pipeline, tmp_path: Path) -> None:
    odd = {f"lora_unet_mixer_{k}.{half}": torch.ones(2) for k in range(3) for half in ("w_norm", "b_norm")}
    save_file(tensors() | odd, tmp_path / "odd.safetensors")
    with pytest.warns(UnusedKeysWarning) as caught:
        pipe.with_loras([tmp_path / "odd.safetensors"])
    (line,) = [str(one.message) for one in caught]
    assert line.startswith(f"{tmp_path / 'odd.safetensors'}: 6 keys fit no layer of this model, unused (")
    assert line.count("lora_unet_mixer_") == 3
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    "given",
    [
        "a.safetensors:nan",
        "a.safetensors:101",
        "a.safetensors:unet=1:te=x",
        "a.safetensors:te=101:unet=1",
        "",
        ("a", "many"),
        ("a", 1, 2),
        3,
        {"path": "a", "weight": 1},
        ["a"] * 65,
    ],
)
def test_what_is_no_lora_is_one_line(given: object) -> None:
    loras = given if isinstance(given, list) else [given]
    with pytest.raises(
        RequestError,
        match=r"^loras must be PATH, PATH:SCALE or PATH:unet=SCALE:te=SCALE, with scales from -100 to 100, not ",
    ):
        parse({"prompt": "a tree", "loras": loras})


@pytest.mark.parametrize(
    ("given", "path", "scale"),
    [("a.pt", "a.pt", 1.0), ("a.pt:-0.5", "a.pt", -0.5), ("c:/a.pt", "c:/a.pt", 1.0), ("c:/a.pt:2", "c:/a.pt", 2.0)],
)
def test_a_path_may_hold_a_colon(given: str, path: str, scale: float) -> None:
    assert parse({"prompt": "a tree", "lora": given}).loras == (Lora(path=path, scale=scale),)


@pytest.mark.parametrize(
    "given",
    ["c:/a.pt:unet=0.8:te=0.5", "c:/a.pt:te=0.5:unet=0.8", ("c:/a.pt", {"unet": 0.8, "te": 0.5})],
)
def test_u_net_and_text_encoder_may_have_scales_of_their_own(given: object) -> None:
    (lora,) = parse({"prompt": "a tree", "lora": [given]}).loras
    assert (lora.path, lora.scales) == ("c:/a.pt", (0.8, 0.5))
    (plain,) = parse({"prompt": "a tree", "lora": "a.pt:0.8"}).loras
    assert plain.scales == (0.8, 0.8)


@pytest.mark.parametrize("given", ["a.pt:0.8:0.5", "a.pt:te=0.5", "a.pt:unet=1:unet=1", ("a.pt", {"unet": 0.8})])
def test_two_scales_are_both_named(given: object) -> None:
    with pytest.raises(RequestError, match=r"^name a LoRA's two scales, as in PATH:unet=0\.8:te=0\.5"):
        parse({"prompt": "a tree", "lora": [given]})


@pytest.mark.parametrize("prompt", ["a tree <lora:style:0.8>", "<lora:style>", "a <lyco:x:1:2> tree", "<lora:style"])
def test_a_lora_in_a_prompt_is_refused_with_the_way_to_give_it(prompt: str) -> None:
    for name in ("prompt", "negative_prompt"):
        with pytest.raises(RequestError, match=r"is not supported in a prompt: .* --lora PATH:SCALE"):
            parse({"prompt": "a tree", name: prompt})


# ---------------------------------------------------------------- the command line


def call(base: Path, output: Path, *more: str) -> Sequence[str]:
    start = ["generate", "a tree", "--model", str(base), "--size", "64", "--steps", "2", "--seed", "3", "--quiet"]
    return [*start, "-o", str(output), *more]


def test_the_command_line_draws_with_loras_and_draws_it_again(
    base: Path, pipe: Pipeline, style: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_file(tensors(seed=9), tmp_path / "other.safetensors")
    other, path = tmp_path / "other.safetensors", tmp_path / "tree.png"
    assert run(call(base, path, "--lora", f"{style}:unet=0.8:te=0.3", "--lora", str(other))) == 0
    expected = drawn(pipe.with_loras([(style, {"unet": 0.8, "te": 0.3}), other]))
    assert torch.equal(torch.from_numpy(np.asarray(Image.open(path)).astype(int)), expected)
    assert run(["replay", str(path)]) == 0
    assert capsys.readouterr().out.endswith("identical\n")

    save_file(tensors(seed=10), other)
    assert run(["replay", str(path)]) == 2
    assert f"{other} has changed: its hash is" in capsys.readouterr().err
    other.unlink()
    assert run(["replay", str(path)]) == 1
    way = "if it was moved, give its new path with --lora"
    assert capsys.readouterr().err == f"error: {other}: no such file or folder; {way}\n"


def test_loras_that_were_moved_are_known_again_by_their_hashes(
    base: Path, style: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = shutil.copy(style, tmp_path / "a.safetensors"), tmp_path / "b.safetensors"
    save_file(tensors(seed=9), second)
    path, plain = tmp_path / "tree.png", tmp_path / "plain.png"
    assert run(call(base, path, "--lora", f"{first}:0.8", "--lora", f"{second}:0.3")) == 0
    assert run(call(base, plain)) == 0
    here = [str(one.rename(one.with_suffix(".moved"))) for one in (first, second)]
    capsys.readouterr()
    assert run(["replay", str(path), "--lora", here[1], "--lora", here[0]]) == 0  # each keeps its own place and scale
    assert capsys.readouterr().out == "identical\n"

    save_file(tensors(seed=10), tmp_path / "other.safetensors")
    other = str(tmp_path / "other.safetensors")
    its, *known = (sha256(Path(one).read_bytes()).hexdigest()[:10] for one in (other, *here))
    assert run(["replay", str(path), "--lora", other]) == 2
    told = f"not the recorded one: its sha256 is {its}, not {' or '.join(sorted(known))}"
    assert capsys.readouterr().err == f"error: the LoRA {other} is {told}\n"
    assert run(["replay", str(plain), "--lora", other]) == 2
    told = f"the picture was drawn without a LoRA: leave {other} out"
    assert capsys.readouterr().err == f"error: {told}\n"


def test_the_command_line_says_what_is_wrong_and_what_is_not_used(
    base: Path, style: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(call(base, tmp_path, "--lora", "nowhere.safetensors")) == 1
    assert capsys.readouterr().err == "error: nowhere.safetensors: no such file or folder\n"
    assert run(call(base, tmp_path, "--lora", f"{style}:abc")) == 2
    told = f"{style}:abc: the scale after the colon must be a number, not 'abc'"
    assert capsys.readouterr().err == f"error: {told}\n"
    assert run(["convert", str(base), str(tmp_path / "all.safetensors"), "--lora", f"{style}:abc"]) == 2
    assert capsys.readouterr().err == f"error: {told}\n"
    assert run(call(base, tmp_path, "--lora", str(base))) == 2
    assert capsys.readouterr().err.startswith(f"error: {base} is a pipeline of several parts")
    assert run(["generate", "a tree <lora:style:1>"]) == 2
    assert "give the file as --lora PATH:SCALE" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.png"))
    save_file(tensors() | {"lora_unet_mixer.diff": torch.ones(1)}, style)
    assert run(call(base, tmp_path / "a.png", "--lora", str(style), "--dry-run", "--format", "json")) == 0
    out, err = capsys.readouterr()
    assert "warning:" in err
    assert "1 key fits no layer of this model, unused (lora_unet_mixer.diff)" in err
    assert json.loads(out)["request"]["loras"][0]["scale"] == 1.0


def test_convert_writes_the_weights_with_the_loras_in_them(
    base: Path, pipe: Pipeline, style: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_file(tensors() | {"lora_unet_mixer.diff": torch.ones(1)}, style)
    assert run(["convert", str(base), str(tmp_path / "merged"), "--lora", f"{style}:0.8", "--quiet"]) == 0
    told = f"{tmp_path / 'merged'}\nleft out: keys of {style} that fit no layer (1)\n"
    assert capsys.readouterr().out == told
    save_file(tensors(), style)
    changed = pipe.with_loras([(style, 0.8)])
    merged = sf.load(str(tmp_path / "merged"), device="cpu")
    for name, weight in weights(changed.system).items():
        assert torch.equal(weights(merged.system)[name], weight), name
    assert torch.equal(drawn(merged), drawn(changed))
    one = load_file(sf.convert(base, tmp_path / "one.safetensors", loras=[(style, 0.8)]))
    key = "model.diffusion_model.middle_block.1.transformer_blocks.0.attn1.to_k.weight"
    qkv = weights(changed.system)["middle.0.transformer.blocks.0.self_attention.qkv.weight"]
    assert torch.equal(one[key], qkv[64:128])


def test_convert_puts_no_lora_into_a_part_and_leaves_nothing_where_one_does_not_fit(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_file(halves(QKV, 64, 32, seed=0), tmp_path / "odd.safetensors")
    assert run(["convert", str(base), str(tmp_path / "new"), "--lora", str(tmp_path / "odd.safetensors")]) == 2
    assert "is for a weight of shape (64, 32), where this model has (64, 64)" in capsys.readouterr().err
    assert run(["convert", str(base / "vae"), str(tmp_path / "new"), "--lora", str(tmp_path / "odd.safetensors")]) == 2
    assert "is only part of a model (autoencoder); LoRAs need a whole one" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["odd.safetensors"]


def test_a_damaged_file_is_one_line(pipe: Pipeline, style: Path) -> None:
    style.write_bytes(style.read_bytes()[:-100])
    with pytest.raises(DamagedError, match="is damaged or not a safetensors file"):
        pipe.with_loras([style])
