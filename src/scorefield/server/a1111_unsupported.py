"""Options of AUTOMATIC1111 that would change a picture and are not offered: refused where they are switched on."""

from collections.abc import Mapping

from fastapi import HTTPException

from scorefield.errors import RequestError
from scorefield.server.a1111_fields import DrawIn

# What each does when it is off. Clients send these values whether or not they know the option.
_OFF: Mapping[str, tuple[object, ...]] = {
    "enable_hr": (None, False),
    "restore_faces": (None, False),
    "tiling": (None, False),
    "subseed_strength": (None, 0),
    "s_churn": (None, 0),
    "s_min_uncond": (None, 0),
    "s_noise": (None, 0, 1),
    "refiner_checkpoint": (None, "", "None"),
    "infotext": (None, ""),
    "initial_noise_multiplier": (None, 0, 1),
    "latent_mask": (None, ""),
    "mask_round": (None, True),
}
_RESIZED = ("seed_resize_from_h", "seed_resize_from_w")


def check(asked: DrawIn) -> None:
    """RequestError for an option that would change the picture, HTTPException for a script."""
    for name, off in _OFF.items():
        if getattr(asked, name, None) not in off:
            raise RequestError(f"{name} is not supported here; leave it out", option=name)
    for name in _RESIZED:
        if (getattr(asked, name) or 0) > 0:
            raise RequestError(f"{name} is not supported here; leave it out", option=name)
    if style := next((one for one in asked.styles or () if one not in ("", "None")), None):
        raise RequestError(f"there is no style {style[:60]!r}; write its words into the prompt", option="styles")
    if asked.script_name not in (None, "", "None"):
        raise HTTPException(422, f"Script {asked.script_name[:60]!r} not found; there are none here")
    if script := next(iter(asked.alwayson_scripts or ()), None):
        raise HTTPException(422, f"always on script {script[:60]!r} not found; there are none here")
