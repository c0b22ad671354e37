"""What we convert, diffusers loads, and it draws the picture that it drew before."""

from pathlib import Path

import diffusers
import pytest
import torch
from tests.pipelines import PROMPT, drawn, drawn_there, scheduler, written
from tests.tiny import TINY, TINY_2

from scorefield.zoo.convert import conversion
from scorefield.zoo.stable import stable
from scorefield.zoo.stable_files import Networks

pytestmark = [
    pytest.mark.filterwarnings("ignore::scorefield.api.UnknownSizeWarning"),
    pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"),
]
CPU = torch.device("cpu")


@pytest.mark.parametrize(("networks", "prediction"), [(TINY, "epsilon"), (TINY_2, "v_prediction")], ids=["1", "2"])
def test_a_folder_of_diffusers_comes_back_from_one_file_and_draws_the_identical_picture(
    networks: Networks, prediction: str, tmp_path: Path
) -> None:
    peer = written(tmp_path, networks, prediction)
    file, folder = tmp_path / "one.safetensors", tmp_path / "back"
    list(conversion(tmp_path / "model", to_folder=False).run(file, None))
    folder.mkdir()
    list(conversion(file, to_folder=True, networks=networks).run(folder, None))
    again = diffusers.StableDiffusionPipeline.from_pretrained(folder)
    again.set_progress_bar_config(disable=True)
    for name in ("unet", "vae", "text_encoder"):
        weights, wanted = getattr(again, name).state_dict(), getattr(peer, name).state_dict()
        assert weights.keys() == wanted.keys()
        assert all(torch.equal(weights[key], wanted[key]) for key in wanted)
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
