"""The text of a LoRA in a request or a record: its path, and its scales behind colons."""

import time

import pytest
from pydantic import ValidationError

from scorefield.request.model_choice import Lora


@pytest.mark.parametrize(
    ("text", "path", "scales"),
    [
        ("a.safetensors", "a.safetensors", (1.0, 1.0)),
        ("a.safetensors:0.5", "a.safetensors", (0.5, 0.5)),
        ("a:unet=0.8:te=0.5", "a", (0.8, 0.5)),
        ("a:te=0.5:unet=0.8", "a", (0.8, 0.5)),
        ("C:\\loras\\a:unet=0.8:te=-1", "C:\\loras\\a", (0.8, -1.0)),
        ("te=1:x:unet=2:te=3", "te=1:x", (2.0, 3.0)),
        ("unet=1", "unet=1", (1.0, 1.0)),
    ],
)
def test_a_text_is_a_path_and_its_scales(text: str, path: str, scales: tuple[float, float]) -> None:
    lora = Lora.model_validate(text)
    assert (lora.path, lora.scales) == (path, scales)


@pytest.mark.parametrize("text", ["a:unet=1", "a:te=1", "a:1:2", "a:unet=1:te=x", "unet=1:te=2"])
def test_half_of_the_scales_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        Lora.model_validate(text)


@pytest.mark.parametrize("text", [":", "a:unet=", ":unet=1", ":te=", "a:unet=1", "unet=", "=", "a: "])
def test_a_text_of_a_record_takes_time_linear_in_its_length(text: str) -> None:
    start = time.process_time()
    with pytest.raises(ValidationError):
        Lora.model_validate(text * (200_000 // len(text)) + "x")
    assert time.process_time() - start < 2
