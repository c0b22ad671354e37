"""Whether a request fits the memory of this machine, and with what it would, before anything is loaded."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from scorefield.api.forecast import Forecast, forecast
from scorefield.api.free_memory import available
from scorefield.api.resolve import Plan, resolve
from scorefield.core.hollow_calls import Known
from scorefield.errors import MachineError, RequestError
from scorefield.notes import collecting
from scorefield.request import Request
from scorefield.zoo import OpenedModel

_TRIES = 3  # of each option, each about half of the one before
_SIDES = 64  # px: sizes to suggest are multiples of it
_TILES = (512, 256, 128)  # px


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """The memory of a request, and whether this machine has it."""

    plan: Plan
    forecast: Forecast
    available_bytes: int | None  # None where the system does not say
    suggestions: tuple[str, ...] = ()  # options of the command line with which it would fit

    @property
    def fits(self) -> bool:
        """Whether the memory suffices, as far as it is known."""
        return self.available_bytes is None or self.forecast.peak_bytes <= self.available_bytes

    def check(self) -> None:
        """MachineError if the memory will not suffice, which says with what it would."""
        if self.fits:
            return
        would = f"it would with {', or with '.join(self.suggestions)}" if self.suggestions else "no option changes that"
        raise MachineError(
            f"this takes about {gigabytes(self.forecast.peak_bytes)} of memory and there is "
            f"{gigabytes(self.available_bytes or 0)}: {would}; --anyway tries all the same"
        )


def gigabytes(size: int) -> str:
    """A size in GB, of 10^9 bytes."""
    return f"{size / 1e9:.2f} GB" if size < 10e9 else f"{size / 1e9:.1f} GB"


def outlook(request: Request, opened: OpenedModel | None = None) -> Outlook:
    """What a request will take; errors are those of `prepare`. `opened` is its model, if it is opened already."""
    opened, known = opened or OpenedModel(request), Known()
    found = _of(request, opened, known)
    if found.fits:
        return found
    return replace(found, suggestions=tuple(_suggestions(request, opened, found, known)))


def _of(request: Request, opened: OpenedModel, known: Known) -> Outlook:
    with collecting() as notes:
        hollow = opened.trial
    plan = resolve(request, hollow)
    plan = replace(plan, notes=(*notes, *plan.notes))
    return Outlook(plan=plan, forecast=forecast(plan, hollow, known), available_bytes=available(hollow.device))


def _suggestions(request: Request, opened: OpenedModel, found: Outlook, known: Known) -> Iterator[str]:
    """The options that make it fit, each by itself, or else together with a smaller number format.

    What one try finds out is `known` to those that follow.
    """
    asked, said = request, ""
    if opened.is_large and not request.offload and not request.compiled:
        one_at_a_time = replace(found.plan, request=found.plan.request.model_copy(update={"offload": True}))
        if replace(found, forecast=forecast(one_at_a_time, opened.trial, known)).fits:
            yield "--offload"
    half = "bfloat16" if opened.device.type == "cpu" else "float16"
    if str(opened.dtype) == "torch.float32":
        smaller = request.model_copy(update={"dtype": half})
        with collecting():  # nobody has chosen this format, so its warnings are dropped
            in_half = OpenedModel(smaller)
        if (small := _of(smaller, in_half, known)).fits:
            yield f"--dtype {half}"
        elif _weights(found) > (found.available_bytes or 0):
            asked, said, opened, found = smaller, f"--dtype {half} ", in_half, small
    if _weights(found) > (found.available_bytes or 0):
        return  # whatever is drawn
    for tries in _smaller(asked, found.plan):
        for flags, changes in tries:
            try:
                fits = _of(asked.model_copy(update=dict(changes)), opened, known).fits
            except RequestError:  # such a size or number of frames has no latents
                continue
            if fits:
                yield f"{said}{flags}"
                break


def _weights(found: Outlook) -> int:
    sizes = [part.bytes for part in found.forecast.parts]
    return found.forecast.base_bytes + (max(sizes) if found.forecast.offload else sum(sizes))


def _smaller(request: Request, plan: Plan) -> Iterator[list[tuple[str, Mapping[str, object]]]]:
    """Changes of one option, which go further and further; as flags and as fields."""
    canvas, together = plan.canvas, max(len(batch.seeds) for batch in plan.batches)
    yield [(f"--batch-size {size}", {"batch_size": size}) for k in range(_TRIES) if (size := together >> (k + 1))]
    side = min(canvas.width, canvas.height, *([request.tile] if isinstance(request.tile, int) else []))
    yield [(f"--tile {tile}", {"tile": tile}) for tile in _TILES if tile < side]
    if canvas.frames > 1:
        counts = [(canvas.frames - 1) // 2**k + 1 for k in range(1, _TRIES + 1)]
        yield [(f"--frames {count}", {"frames": count}) for count in counts if count > 1]
    if request.image is None:
        sides = [tuple(int(one / 2 ** (k / 2)) // _SIDES * _SIDES for one in canvas[:2]) for k in range(1, _TRIES + 1)]
        yield [(f"--size {w}x{h}", {"width": w, "height": h}) for w, h in sides if min(w, h)]
