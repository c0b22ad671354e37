"""Resolve a request for a loaded model: decide and read everything once, refuse what the model cannot do."""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from pydantic import BaseModel

from scorefield.errors import RequestError
from scorefield.model.codec import Canvas
from scorefield.model.events import Batch
from scorefield.model.stage import StagePlan
from scorefield.model.system import LearnedWord, System
from scorefield.notes import Note, UnusedWordWarning, collection, note
from scorefield.prompt.rules import Count
from scorefield.request import SEEDS, Drawing, ModelChoice, Request, group_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A request with everything decided and read; a job only computes and writes."""

    request: Request  # complete: a record keeps it
    batches: tuple[Batch, ...]
    stages: tuple[StagePlan, ...]
    words: tuple[LearnedWord, ...] = ()  # that the model has learned
    notes: tuple[Note, ...] = ()

    @property
    def canvas(self) -> Canvas:
        """The size of the outputs."""
        return self.stages[-1].canvas

    @property
    def lengths(self) -> Mapping[str, Count]:
        """The length of each prompt and of the negative prompt, by text, as the first stage reads them."""
        return self.stages[0].lengths

    @property
    def steps(self) -> int:
        """Steps that are walked for one batch, over all stages."""
        return sum(stage.steps for stage in self.stages)


def resolve(asked: Drawing, system: System) -> Plan:
    """The plan of a request for a model; RequestError for what the model cannot do, or was not loaded with."""
    if isinstance(asked, ModelChoice):
        _check_loaded(asked, system)
    _check_taken(asked, system)
    context, notes = collection()
    stages: list[StagePlan] = []
    for stage in system.stages:
        stages.append(context.run(stage.plan, asked))
    context.run(_note_unused_words, asked, system)
    filled: dict[str, object] = {**system.fixed, "seed": secrets.randbelow(2**32) if asked.seed is None else asked.seed}
    for made in stages:
        filled |= made.filled
    drawing = {name: getattr(asked, name) for name in Drawing.model_fields}
    request = Request.model_construct(**{**drawing, **dict(system.choice), **filled})
    prompts = [prompt for prompt in asked.prompts for _ in range(asked.count)]
    seeds = [((request.seed or 0) + k) % SEEDS for k in range(len(prompts))]
    alike = list(zip(*(stage.alike for stage in stages if stage.alike), strict=True)) or [()] * len(prompts)
    batches = tuple(
        Batch(first=rows.start, prompts=tuple(prompts[rows]), seeds=tuple(seeds[rows]))
        for rows in _batches(alike, asked.batch_size)
    )
    return Plan(request=request, batches=batches, stages=tuple(stages), words=system.embeddings, notes=tuple(notes))


def _check_loaded(asked: ModelChoice, system: System) -> None:
    """RequestError if `asked` explicitly states a choice that `system` was not loaded with."""
    for name in ModelChoice.model_fields.keys() & asked.model_fields_set:
        wanted, loaded = getattr(asked, name), getattr(system.choice, name)
        if not _agree(wanted, loaded) and not (name == "model" and wanted == system.loaded_as):
            raise RequestError(f"this pipeline was not loaded with the {name} {wanted}; pass it to load()")


def _agree(asked: object, loaded: object) -> bool:
    """Whether what was loaded is what was asked for, as far as anything was."""
    if asked in (None, False, "auto"):
        return True
    if isinstance(asked, BaseModel):
        return all(_agree(value, getattr(loaded, name, None)) for name, value in asked)
    if isinstance(asked, tuple) and isinstance(loaded, tuple):
        return len(asked) == len(loaded) and all(map(_agree, asked, loaded))
    return asked == loaded


def _check_taken(asked: Drawing, system: System) -> None:
    """RequestError for an option that no stage of the model reads, unless its value is what the model does anyway."""
    taken = {name for stage in system.stages for group in stage.takes for name in group.model_fields}
    for name in (Drawing.model_fields.keys() & asked.model_fields_set) - taken:
        value = getattr(asked, name)
        if value not in (Drawing.model_fields[name].default, system.fixed.get(name)):
            instead = group_of(name).instead
            raise RequestError(f"{name} is not an option of the model {system.name}{instead and '; '}{instead}")


def _note_unused_words(asked: Drawing, system: System) -> None:
    said = "\n".join([*asked.prompts, asked.negative_prompt]).lower()
    for word in system.embeddings:
        if word.token.lower() not in said:
            note(UnusedWordWarning, f"no prompt contains {word.token}, the word of {word.path}: it has no effect")


def _batches(alike: Sequence[object], most: int) -> Iterator[slice]:
    """Divide the outputs into batches of neighbours: at most `most`, all alike.

    Prompts of different numbers of chunks could share a batch only if the shorter ones were padded with empty chunks,
    which would change their pictures.
    """
    for _, same in groupby(range(len(alike)), key=alike.__getitem__):
        first, *others = same
        stop = first + 1 + len(others)
        yield from (slice(k, min(k + most, stop)) for k in range(first, stop, most))
