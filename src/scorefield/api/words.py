"""The words of a request: how they are read, how long they are, and which prompts are read together."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from scorefield import zoo
from scorefield.prompt.rules import Count, Rules
from scorefield.request import Settled


def rules(request: Settled) -> Rules:
    """The rules by which the prompts of a request are read."""
    return Rules(weighting=request.weighting, long_prompt=request.long_prompt, clip_skip=request.clip_skip)


def counts(request: Settled, model: zoo.Model) -> dict[str, Count]:
    """The length of each prompt and of the negative prompt, by text; ValueError for one that is too long."""
    texts = list(dict.fromkeys([*request.prompts, request.negative_prompt]))
    return dict(zip(texts, model.conditioner.counts(texts, rules(request)), strict=True))


def tokens_record(request: Settled, model: zoo.Model) -> dict[str, object]:
    """The lengths of the prompts, in order, and of the negative prompt, as plain JSON."""
    counted = {text: count._asdict() for text, count in counts(request, model).items()}
    return {
        "prompts": [counted[prompt] for prompt in request.prompts],
        "negative_prompt": counted[request.negative_prompt],
    }


def tokens_line(request: Settled, model: zoo.Model) -> str:
    """A line to print on the lengths of the longest prompt and of the negative prompt."""
    counted = counts(request, model)
    longest = max((counted[prompt] for prompt in request.prompts), key=lambda count: count.tokens)
    of = f" (the longest of {len(request.prompts)} prompts)" if len(request.prompts) > 1 else ""
    negative = f"; negative prompt {counted[request.negative_prompt]}" if request.negative_prompt else ""
    return f"tokens: {longest}{of}{negative}"


def batches(chunks: Sequence[int], most: int) -> Iterator[slice]:
    """Which neighbours make a batch, of prompts that take so many `chunks`: at most `most`, of equally many chunks.

    Prompts of different numbers of chunks could share a batch only if the shorter ones were padded with empty chunks,
    which would change their pictures.
    """
    for _, same in groupby(range(len(chunks)), key=chunks.__getitem__):
        first, *others = same
        stop = first + 1 + len(others)
        yield from (slice(k, min(k + most, stop)) for k in range(first, stop, most))
