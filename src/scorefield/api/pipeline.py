"""The Python face: a loaded model that is called with a prompt."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Unpack

import torch
from PIL import Image
from torch import Tensor

from scorefield.adapters.learned_words import open_word, with_embeddings
from scorefield.adapters.lora_weights import open_lora, with_loras
from scorefield.api.job import Job
from scorefield.api.resolve import Plan, resolve
from scorefield.api.result import Film, Picture, Result
from scorefield.core.level import Level
from scorefield.errors import RequestError
from scorefield.model.codec import Codec
from scorefield.model.events import Finished, Output, Step
from scorefield.model.system import LearnedWord, System
from scorefield.notes import Note, collecting
from scorefield.prompt.rules import Count, Rules, Weighting
from scorefield.request import Drawing, Embeddings, Loras, ModelChoice, Options, parse, parse_choice
from scorefield.stages.diffusion import Diffusion, only_stage
from scorefield.zoo import load as load_system

Prompt = str | Sequence[str] | Drawing


@dataclass(frozen=True, eq=False, repr=False)
class Pipeline:
    """A loaded model that draws. It keeps no state between calls, so threads may share it."""

    system: System

    def __repr__(self) -> str:
        system = self.system
        return f"Pipeline({system.name}, {system.device}, {str(system.dtype).removeprefix('torch.')})"

    def __reduce__(self) -> tuple[object, ...]:
        """A pipeline is pickled as its model choice, and loaded again from that."""
        return _loaded_again, (self.system.choice,)

    def __call__(self, prompt: Prompt, **options: Unpack[Options]) -> Result:
        """Draw `count` pictures or films for every prompt; number k of all of them, from 0, is drawn from seed + k.

        RequestError for what this model cannot draw, NonFiniteError if the walk meets a NaN or an infinity. Notes
        become warnings, such as UnknownWordsWarning, which names the words that the model never saw.
        """
        job = self.job(prompt, **options)
        media: list[Picture | Film] = []
        seconds: dict[str, float] = {}
        for event in job:
            match event:
                case Note(kind, text):
                    warnings.warn(text, kind, stacklevel=2)
                case Output(media=Picture() | Film() as one):
                    media.append(one)
                case Finished():
                    seconds = {name: value for name, value in event.seconds.items() if name != "load"}
        return Result(request=job.plan.request, media=tuple(media), seconds=seconds)

    def job(self, prompt: Prompt, **options: Unpack[Options]) -> Job:
        """The same work as an iterator of events: for progress, previews, and to cancel."""
        return Job(self.plan(prompt, **options), self.system)

    def plan(self, prompt: Prompt, **options: Unpack[Options]) -> Plan:
        """Decide and read everything without drawing; RequestError for what cannot be drawn."""
        if isinstance(prompt, Drawing):
            if options:
                raise RequestError("a Request is complete: give it alone, or give a prompt with options")
            return resolve(prompt, self.system)
        asked = parse({"prompts": prompt, **options})
        return resolve(asked, self.system)

    def stream(self, prompt: Prompt, **options: Unpack[Options]) -> Iterator[Step]:
        """The walk itself: a Step for each level with its number i of n, the level `at`, and x and x0 (B, ...).

        Step n is the result: `images(step.x)` are its pictures. `codec.preview(step.x0)` is a quick look at any step.
        To cancel, stop iterating. RequestError for more pictures than one batch.
        """
        plan = self.plan(prompt, **options)
        for kind, text in plan.notes:
            warnings.warn(text, kind, stacklevel=2)
        if len(plan.batches) > 1:
            pictures = sum(len(batch.seeds) for batch in plan.batches)
            if pictures <= plan.request.batch_size:
                raise RequestError("a stream draws one batch, but these prompts take different numbers of chunks")
            raise RequestError(f"a stream draws one batch; for {pictures} pictures ask for batch_size={pictures}")
        return _steps(Job(replace(plan, notes=()), self.system))

    def with_loras(self, loras: Loras) -> "Pipeline":
        """A new pipeline whose weights are changed by `loras`, each times its scale. This pipeline does not change.

        A LoRA is a path, or a pair (path, scale); {"unet": 0.8, "te": 0.5} gives the U-Net and the text encoders a
        scale each. The two pipelines share every tensor that no LoRA changes. Errors as in `load`; an UnusedKeysWarning
        names keys of a file that fit no layer.
        """
        opened = [open_lora(one) for one in parse_choice({"loras": loras}).loras]
        with collecting() as notes:
            system = with_loras(self.system, opened)
        for kind, text in notes:
            warnings.warn(text, kind, stacklevel=2)
        return Pipeline(system)

    def with_embeddings(self, embeddings: Embeddings) -> "Pipeline":
        """A new pipeline that knows these textual inversions and no others. This pipeline does not change.

        The two share every network. Errors as in `load`.
        """
        words = [open_word(one) for one in parse_choice({"embeddings": embeddings}).embeddings]
        return Pipeline(with_embeddings(self.system, words))

    @property
    def embeddings(self) -> tuple[LearnedWord, ...]:
        """The textual inversions of the model: token, number of vectors, path and sha256 of each."""
        return self.system.embeddings

    @property
    def stage(self) -> Diffusion:
        """The model's only stage: its spec, conditioner, denoiser and codec; UnsupportedError if there are several."""
        return only_stage(self.system.stages)

    @property
    def codec(self) -> Codec:
        """The codec of the only stage."""
        return self.stage.codec

    def tokens(self, prompt: str, *, weighting: Weighting = "none") -> Count:
        """How many tokens a prompt has, how many fit in a chunk, and how many chunks it takes.

        RequestError for a `weighting` that this model does not know, or a prompt that it would refuse.
        """
        parse({"prompt": prompt, "weighting": weighting})
        rules = Rules(weighting=weighting, long_prompt=self.stage.spec.defaults.long_prompt)
        return self.stage.conditioner.counts([prompt], rules)[0]

    def levels(self, request: Drawing) -> list[Level]:
        """The levels that the walk of a request visits, from noise to clean."""
        return list(resolve(request, self.system).stages[-1].levels)

    @torch.no_grad()
    def images(self, x0: Tensor) -> list[Image.Image]:
        """The decoded pictures of `x0` (B, ...), of films the first frames; NonFiniteError if pixels are not finite."""
        with collecting() as notes:
            pictures = list(self.system.stages[-1].look(x0))
        for kind, text in notes:
            warnings.warn(text, kind, stacklevel=3)
        return pictures


def _steps(job: Job) -> Iterator[Step]:
    """The steps of a job's only batch; nothing is decoded."""
    for event in job:
        if isinstance(event, Note):
            warnings.warn(event.text, event.kind, stacklevel=2)
        elif isinstance(event, Step):
            yield event
            if event.progress == 1:
                return


def _loaded_again(choice: ModelChoice) -> Pipeline:
    return Pipeline(load_system(choice))
