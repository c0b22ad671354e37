"""What was found out about a file or folder of weights, in lines to read and as a record."""

from collections.abc import Iterator, Mapping

from scorefield.weights.detect.identity import Identity, Kind, Part


def model_lines(found: Identity) -> Iterator[str]:
    """What was found, in lines to read."""
    if found.kind is Kind.UNKNOWN:
        yield f"of no kind that is known here{f'; it most resembles {found.resembles}' if found.resembles else ''}"
        return
    if found.kind is Kind.OWN:
        yield f"one of scorefield's own files, a {', '.join(found.parts)}"
        return
    task = f", {found.task}" if found.task else ""
    yield f"{found.kind}, {found.family}{task}, {found.layout} layout"
    if found.resembles:
        yield f"  resembles {found.resembles}"
    yield from _parts(found.parts)
    if found.missing:
        yield f"  without {', '.join(found.missing)}"
    for name, fact in found.facts.items():
        yield f"  {name.replace('_', ' ')} {fact if fact is not None else 'not told'}"
    if found.ema:
        yield "  with an averaged copy of its U-Net (EMA): --ema draws with that one"
    if found.prediction:
        yield f"  predicts {found.prediction.value or 'what must be said'}: {found.prediction.why}"
    for note in found.notes:
        yield f"  {note}"


def _parts(parts: Mapping[str, Part]) -> Iterator[str]:
    for name, part in parts.items():
        tensors = "1 tensor" if part.tensors == 1 else f"{part.tensors} tensors"
        yield f"  {name.replace('_', ' ')}: {part.numbers:,} parameters in {tensors}"


def model_record(found: Identity) -> dict[str, object]:
    """What was found, as plain JSON."""
    prediction = found.prediction
    return {
        "kind": found.kind,
        "family": found.family,
        "layout": found.layout,
        "task": found.task,
        "parts": {
            name: {"prefix": part.prefix, "tensors": part.tensors, "parameters": part.numbers}
            for name, part in found.parts.items()
        },
        "missing": list(found.missing),
        "ema": found.ema,
        "prediction": {"value": prediction.value, "why": prediction.why} if prediction else None,
        "facts": dict(found.facts),
        "notes": list(found.notes),
        "resembles": found.resembles,
    }
