"""The family of the models that ship inside the package: pictures, and films once their files are there."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from scorefield.errors import RequestError
from scorefield.families.scenes import build_film, build_scenes
from scorefield.model.spec import ModelSpec
from scorefield.model.system import Place, System
from scorefield.request import ModelChoice
from scorefield.weights.checkpoint import Checkpoint

_BUILD = {build_scenes.SCENES.name: build_scenes.scenes, build_film.SCENES_FILM.name: build_film.scenes_film}


class Scenes:
    """The models whose files are in `folder`; the film model is known if both of its files were there."""

    def __init__(self, folder: Path = build_scenes.ASSETS) -> None:
        self.folder = folder
        films = (build_film.SCENES_FILM,) if build_film.is_there(folder) else ()
        self.names: Mapping[str, ModelSpec] = {spec.name: spec for spec in (build_scenes.SCENES, *films)}

    def specs(self) -> Sequence[ModelSpec]:
        """The embedded models, with the words that their weights know."""
        read = {build_scenes.SCENES.name: build_scenes.spec, build_film.SCENES_FILM.name: build_film.spec}
        return tuple(read[name](self.folder) for name in self.names)

    def recognise(self, checkpoint: Checkpoint) -> ModelSpec | None:
        """None: they are loaded by name."""
        return None

    def build(self, identity: ModelSpec, choice: ModelChoice, place: Place) -> System:
        """The model; RequestError for a choice among files, of which it has one set."""
        applied = {
            "--prediction": choice.prediction, "--variant": choice.variant, "--vae": choice.vae,
            "--text-encoder": choice.text_encoder, "--image-encoder": choice.image_encoder, "--ema": choice.ema,
        }  # fmt: skip
        if flag := next((flag for flag, value in applied.items() if value), None):
            raise RequestError(f"{flag} applies to checkpoint files only; {identity.name} is built in")
        return _BUILD[identity.name](place, choice, self.folder)
