"""LoRAs for Stable Diffusion XL beside diffusers and PEFT: both text encoders and the U-Net answer as theirs do."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from diffusers.loaders import lora_conversion_utils as renaming
from safetensors.torch import save_file
from tests import pipelines
from tests.loading import opened, stable, with_loras
from tests.networks import relative_error
from tests.peer_loras import kohya, text_names, trained, unet_names, written
from tests.tiny import TINY_XL as TINY
from torch import Tensor

from scorefield.api import Pipeline
from scorefield.conversion.plan import conversion
from scorefield.model.system import System
from scorefield.nets.unet import SDXL
from scorefield.notes import UnusedKeysWarning
from scorefield.prompt.conditioner import PromptBatch
from scorefield.weights.key_maps import unet_keys
from scorefield.weights.lora.lora_keys import UNET, parse_key
from scorefield.weights.lora.merge import Scales, names

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*_pattern keys did not match:RuntimeWarning"),  # of those of the other networks
    pytest.mark.filterwarnings("ignore::scorefield.notes.UnknownSizeWarning"),
    pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Already found a `peft_config`:UserWarning"),  # of the second of two
]

ONE = Scales(1, 1)
PROMPTS = ["a red fox", "a dog, in the snow"]
X = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
TIME = torch.tensor([500.0, 20.0])


class Made(NamedTuple):
    peer: Any
    model: System


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("xl")
    peer = pipelines.written_xl(folder, TINY)
    return Made(peer, stable(folder / "model", torch.device("cpu"), torch.float32, networks=TINY))


@pytest.fixture
def made(whole: Made) -> Iterator[Made]:
    yield whole
    whole.peer.unload_lora_weights()


@torch.no_grad()
def errors(made: Made, changed: System | None = None) -> dict[str, float]:
    """How far the words of each encoder, the summary and the U-Net's output of the same words are from diffusers'."""
    model, peer = changed or made.model, made.peer
    words, _, pooled, _ = peer.encode_prompt(PROMPTS, do_classifier_free_guidance=False)
    batch = PromptBatch(prompts=PROMPTS, negative_prompt="", seeds=[1, 2], width=64, height=64)
    ours = model.stages[0].conditioner.pair(batch)[0].tensors()
    sizes = torch.tensor([[64, 64, 0, 0, 64, 64]] * 2)
    theirs = peer.unet(X, TIME, words, added_cond_kwargs={"text_embeds": pooled, "time_ids": sizes}).sample
    features = ours["pooled"][:, pooled.shape[1] :]
    found = model.stages[0].denoiser.net(X, TIME, tokens=words, pooled=torch.cat([pooled, features], 1))
    first, second = ours["tokens"].chunk(2, -1)
    return {
        "first": relative_error(first, words.chunk(2, -1)[0], least=0.1),
        "second": relative_error(second, words.chunk(2, -1)[1], least=0.1),
        "summary": relative_error(ours["pooled"][:, : pooled.shape[1]], pooled, least=0.1),
        "unet": relative_error(found, theirs, least=0.1),
    }


def close(made: Made, changed: System) -> None:
    """The changed model is what diffusers has now, and the first one far from it: the LoRA does something."""
    assert max(errors(made, changed).values()) <= 1e-5
    assert min(errors(made).values()) > 0.1
    assert [one.unused for one in changed.loras] == [()] * len(changed.loras)


def ldm(name: str) -> str:
    """What ldm calls the layer that diffusers gives this name."""
    theirs, others = unet_keys.diffusers(TINY.unet, "add_embedding"), unet_keys.ldm(TINY.unet)
    by_ours = {(one.ours, k): key for one in others for k, key in enumerate(one.theirs)}
    named = {key: by_ours[one.ours, k] for one in theirs for k, key in enumerate(one.theirs)}
    return named[f"{name}.weight"].removesuffix(".weight")


def file(peer: Any, path: Path, named: Callable[[str], str], seed: int = 0) -> Path:
    """A LoRA for every layer of the three networks, as kohya's trainer writes it."""
    encoders = text_names(peer.text_encoder, "lora_te1_"), text_names(peer.text_encoder_2, "lora_te2_")
    read = (one for one in unet_names(peer.unet, named) if "add_embedding" not in one[0])  # diffusers 0.42 cannot
    return written(path, read, *encoders, seed=seed)


@pytest.mark.parametrize("named", [str, ldm], ids=["diffusers", "ldm"])
def test_a_file_of_kohyas_trainer_is_what_diffusers_makes_of_it(
    made: Made, tmp_path: Path, named: Callable[[str], str]
) -> None:
    path = file(made.peer, tmp_path / "a.safetensors", named)
    assert max(errors(made).values()) <= 1e-5
    made.peer.load_lora_weights(path, adapter_name="a")
    made.peer.set_adapters("a", 0.5)  # with 1, float32 is 8e-6 or 1.7e-5 from theirs, by the processor
    close(made, with_loras(made.model, [(str(path), Scales(0.5, 0.5))]))


def test_at_the_published_size_every_layer_of_ldm_is_the_one_that_diffusers_makes_of_it() -> None:
    found = {name: target for name, target in names(UNET, unet_keys.ldm(SDXL)) if name.startswith("lora_unet_")}
    known = dict(names(UNET, unet_keys.diffusers(SDXL, "add_embedding")))
    listed = [name for name, target in found.items() if "norm" not in target.ours and target.ours.endswith("weight")]
    theirs = {f"{name}.lora_{half}.weight": name for name in listed for half in ("down", "up")}
    renamed = renaming._maybe_map_sgm_blocks_to_diffusers(theirs, SimpleNamespace(layers_per_block=SDXL.resblocks))
    converted, _ = renaming._convert_non_diffusers_lora_to_diffusers(renamed)
    assert len(converted) == 2 * len(listed) > 1500
    for key, name in converted.items():
        read = parse_key(key)
        assert read is not None
        assert known[read.layer] == found[name]


def test_what_peft_trains_and_diffusers_saves_is_the_same_here(made: Made, tmp_path: Path) -> None:
    encoders = {"text_encoder": made.peer.text_encoder, "text_encoder_2": made.peer.text_encoder_2}
    path = trained(made.peer, tmp_path, encoders, use_rslora=True)
    close(made, with_loras(made.model, [(str(path), ONE)]))


def test_two_with_scales_of_their_own_are_what_diffusers_makes_of_them(made: Made, tmp_path: Path) -> None:
    peer, paths = made.peer, [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    for seed, path in enumerate(paths):
        file(peer, path, ldm, seed)
    for path in paths:
        peer.load_lora_weights(path, adapter_name=path.stem)
    # With 0.7 in place of 0.5 diffusers' float32 is 8e-6 from its own float64, and with 0.5 3e-6.
    peer.set_adapters(["a", "b"], [0.5, {"unet": -0.4, "text_encoder": 0.9, "text_encoder_2": 0.9}])
    close(made, with_loras(made.model, [(str(paths[0]), Scales(0.5, 0.5)), (str(paths[1]), Scales(-0.4, 0.9))]))


@pytest.mark.parametrize("to_folder", [True, False])
def test_conversion_puts_it_into_all_three_networks(whole: Made, tmp_path: Path, to_folder: bool) -> None:
    path = file(whole.peer, tmp_path / "a.safetensors", ldm)
    out = tmp_path / ("out" if to_folder else "out.safetensors")
    source, loras = Path(whole.model.name), [(str(path), Scales(0.5, 0.7))]
    made = conversion(source, to="diffusers" if to_folder else "ldm", networks=TINY, loras=opened(loras))
    if to_folder:
        out.mkdir()
    list(made.run(out, None))
    wanted = held(with_loras(whole.model, loras))
    found = held(stable(out, torch.device("cpu"), torch.float32, networks=TINY))
    assert made.left == {}
    assert found.keys() == wanted.keys()
    assert all(wanted[name].isfinite().all() and torch.equal(found[name], wanted[name]) for name in wanted)


def test_a_picture_with_a_lora_is_that_of_diffusers_and_records_it(made: Made, tmp_path: Path) -> None:
    path = file(made.peer, tmp_path / "style.safetensors", ldm)
    made.peer.load_lora_weights(path)
    made.peer.set_adapters(made.peer.get_active_adapters(), [{"unet": 0.3, "text_encoder": 0.6, "text_encoder_2": 0.6}])
    name, schedule, options = pipelines.SAMPLERS["euler"]
    theirs = pipelines.drawn_there(made.peer, pipelines.scheduler(name, "epsilon", **options))
    changed = Pipeline(made.model).with_loras([(path, {"unet": 0.3, "te": 0.6})])
    assert abs(pipelines.drawn(changed.system, "euler", schedule) - theirs).max() <= 1
    assert abs(pipelines.drawn(made.model, "euler", schedule) - theirs).max() > 20
    (recorded,) = changed.plan("a tree", size=64).request.loras
    assert (recorded.path, recorded.scales) == (str(path), (0.3, 0.6))


def test_a_lora_of_one_network_leaves_the_others_as_they_are(whole: Made, tmp_path: Path) -> None:
    tensors = kohya(text_names(whole.peer.text_encoder_2, "lora_te2_"))
    odd = {"lora_te3_x.lora_down.weight": torch.ones(1, 2), "lora_te3_x.lora_up.weight": torch.ones(2, 1)}
    save_file(tensors | odd, tmp_path / "a.safetensors")
    with pytest.warns(UnusedKeysWarning, match="2 keys fit no layer"):
        changed = with_loras(whole.model, [(str(tmp_path / "a.safetensors"), ONE)])
    before, after = held(whole.model), held(changed)
    assert {name for name in before if before[name].data_ptr() != after[name].data_ptr()} == {
        f"second.blocks.{k}.{layer}.weight"
        for k in range(2)
        for layer in ("attention.qkv", "attention.out", "fc1", "fc2")
    }
    assert set(changed.loras[0].unused) == odd.keys()
    assert max(errors(whole).values()) <= 1e-5  # the first model is as it was


def test_the_projection_of_the_second_encoder_can_be_changed(whole: Made, tmp_path: Path) -> None:
    path, source = tmp_path / "a.safetensors", torch.Generator().manual_seed(0)
    down, up = torch.randn(2, 32, generator=source), torch.randn(32, 2, generator=source)
    layer = "text_encoder_2.text_projection"
    save_file({f"{layer}.lora_A.weight": down, f"{layer}.lora_B.weight": up}, path)
    changed = held(with_loras(whole.model, [(str(path), ONE)]))["second.projection.weight"]
    torch.testing.assert_close(changed, held(whole.model)["second.projection.weight"] + up @ down)


def held(model: System) -> dict[str, Tensor]:
    """Every weight that a LoRA may change."""
    nets = {
        "first": model.stages[0].conditioner.first.encoder,  # type: ignore[attr-defined]
        "second": model.stages[0].conditioner.second.encoder,  # type: ignore[attr-defined]
        "unet": model.stages[0].denoiser.net,
    }
    return {f"{part}.{name}": weight for part, net in nets.items() for name, weight in net.named_parameters()}
