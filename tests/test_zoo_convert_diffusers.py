"""What we convert, diffusers loads, and it draws the picture that it drew before."""

import json
from pathlib import Path

import diffusers
import pytest
import torch
from safetensors.torch import load_file
from tests.loading import stable
from tests.pipelines import PROMPT, assert_same_weights, drawn, drawn_there, scheduler, there_and_back, written
from tests.tiny import TINY, TINY_2

from scorefield.core import gauge
from scorefield.families.stable_diffusion.specs import Networks

pytestmark = [
    pytest.mark.filterwarnings("ignore::scorefield.notes.UnknownSizeWarning"),
    pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"),
]
CPU = torch.device("cpu")


@pytest.mark.parametrize(("networks", "prediction"), [(TINY, "epsilon"), (TINY_2, "v_prediction")], ids=["1", "2"])
def test_a_folder_of_diffusers_comes_back_from_one_file_and_draws_the_identical_picture(
    networks: Networks, prediction: str, tmp_path: Path
) -> None:
    peer = written(tmp_path, networks, prediction)
    file, folder = there_and_back(tmp_path / "model", networks, tmp_path)
    again = diffusers.StableDiffusionPipeline.from_pretrained(folder)
    assert_same_weights(again, peer, "unet", "vae", "text_encoder")
    assert again.tokenizer(PROMPT).input_ids == peer.tokenizer(PROMPT).input_ids
    assert again.tokenizer.pad_token == peer.tokenizer.pad_token
    assert again.scheduler.config.prediction_type == prediction
    euler = scheduler("EulerDiscreteScheduler", prediction, timestep_spacing="trailing")
    theirs = drawn_there(again, euler)
    assert theirs.std() > 20
    assert (theirs == drawn_there(peer, euler)).all()
    model = stable(file, CPU, torch.float32, networks=networks)
    assert model.sha256 == stable(tmp_path / "model", CPU, torch.float32, networks=networks).sha256
    prompt = PROMPT.rstrip("!")  # which pads in Stable Diffusion 2's folder, and is a word of its file
    ours = [drawn(one, "euler", "trailing", prompt) for one in (model, stable(folder, CPU, torch.float32))]
    assert (ours[0] == ours[1]).all()


def test_a_model_that_was_trained_to_pure_noise_stays_one_and_draws_the_identical_picture(tmp_path: Path) -> None:
    peer = written(tmp_path, TINY_2, "v_prediction")
    config = tmp_path / "model" / "scheduler" / "scheduler_config.json"
    options = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    config.write_text(json.dumps(json.loads(config.read_text()) | options))
    file, folder = there_and_back(tmp_path / "model", TINY_2, tmp_path)
    assert {name: len(one) for name, one in load_file(file).items() if "." not in name} == {"v_pred": 0, "ztsnr": 0}
    again = diffusers.StableDiffusionPipeline.from_pretrained(folder)
    assert_same_weights(again, peer, "unet", "vae", "text_encoder")
    assert isinstance(again.scheduler, diffusers.DDIMScheduler)
    theirs = drawn_there(again, again.scheduler)
    assert theirs.std() > 20
    assert (theirs == drawn_there(peer, diffusers.DDIMScheduler.from_pretrained(config.parent))).all()
    assert (theirs != drawn_there(peer, scheduler("DDIMScheduler", "v_prediction", timestep_spacing="trailing"))).any()
    places = (tmp_path / "model", file, folder)
    models = [stable(path, CPU, torch.float32, networks=TINY_2) for path in places]
    assert {(one.sha256, one.stages[0].spec.gauge, one.stages[0].spec.defaults.schedule) for one in models} == {
        (models[0].sha256, gauge.vp, "trailing")
    }
    ours = [drawn(one, "ddim", "trailing", PROMPT.rstrip("!")) for one in models]
    assert (ours[0] == ours[1]).all()
    assert (ours[0] == ours[2]).all()
