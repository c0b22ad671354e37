"""The report on a file or folder of weights, as lines and as a record."""

from collections.abc import Iterator, Mapping

from scorefield.weights.detect.identity import (
    AnyIdentity,
    ClipIdentity,
    EmbeddingIdentity,
    FilmVaeIdentity,
    LoraIdentity,
    ModelIdentity,
    OwnIdentity,
    TextEncoderIdentity,
    TransformerIdentity,
    UnknownIdentity,
    VaeIdentity,
)
from scorefield.weights.tensor_index import Part


def model_lines(found: AnyIdentity) -> Iterator[str]:
    """The report as lines."""
    if isinstance(found, UnknownIdentity):
        yield f"unknown kind of model{f'; it most resembles {found.resembles}' if found.resembles else ''}"
        return
    if isinstance(found, OwnIdentity):
        yield f"one of scorefield's own files, a {found.holds}"
        return
    model = found if isinstance(found, ModelIdentity) else None
    task = f", {model.task}" if model and model.task else ""
    yield f"{found.kind}, {found.family}{task}, {found.layout} layout"
    if found.resembles:
        yield f"  resembles {found.resembles}"
    yield from _parts(found.parts)
    if model and model.missing:
        yield f"  without {', '.join(model.missing)}"
    for name, fact in _facts(found).items():
        yield f"  {name.replace('_', ' ')} {fact if fact is not None else 'not stated'}"
    if model and model.ema:
        yield "  with an averaged copy of its U-Net (EMA): --ema draws with it"
    if model and model.prediction:
        yield f"  predicts {model.prediction.value or 'eps or v (give --prediction)'}: {model.prediction.why}"
    for note in found.notes:
        yield f"  {note}"


def _parts(parts: Mapping[str, Part]) -> Iterator[str]:
    for name, part in parts.items():
        tensors = "1 tensor" if part.tensors == 1 else f"{part.tensors} tensors"
        yield f"  {name.replace('_', ' ')}: {part.numbers:,} parameters in {tensors}"


def model_record(found: AnyIdentity) -> dict[str, object]:
    """The report as plain JSON."""
    model = found if isinstance(found, ModelIdentity) else ModelIdentity(kind=found.kind)
    prediction = model.prediction
    return {
        "kind": found.kind,
        "family": found.family,
        "layout": found.layout,
        "task": model.task,
        "parts": {
            name: {"prefix": part.prefix, "tensors": part.tensors, "parameters": part.numbers}
            for name, part in found.parts.items()
        },
        "missing": list(model.missing),
        "ema": model.ema,
        "prediction": {"value": prediction.value, "why": prediction.why} if prediction else None,
        "facts": _facts(found),
        "notes": list(found.notes),
        "resembles": found.resembles,
    }


def _facts(found: AnyIdentity) -> dict[str, object]:
    """The facts that only this kind has, by name."""
    facts: dict[str, object] = {}
    match found:
        case ModelIdentity() if found.channels is not None:
            facts |= {"channels": found.channels, "context": found.context}
            facts |= {"zero_snr": True} if found.zero_snr else {}
        case VaeIdentity():
            facts = {"channels": found.channels, "levels": found.levels}
        case ClipIdentity():
            encoders = {"text": found.text, "image": found.image}
            facts |= {f"{name}_{size}": value for name, encoder in encoders.items() if encoder
                      for size, value in encoder._asdict().items() if value is not None}  # fmt: skip
        case TransformerIdentity():
            facts = {"in_channels": found.in_channels, "out_channels": found.out_channels, "width": found.width,
                     "blocks": found.depth, "text_width": found.text_width}  # fmt: skip
            facts |= {} if found.image_width is None else {"image_width": found.image_width}
        case FilmVaeIdentity():
            facts = {"channels": found.channels, "levels": len(found.multipliers)}
        case TextEncoderIdentity():
            facts = {"words": found.vocab_size, "width": found.width, "layers": found.layers}
            facts["tokenizer"] = "in the file" if found.tokenizer else "not in the file"
        case LoraIdentity():
            scale = {"rank": ", ".join(map(str, found.ranks)), "alpha": found.alpha} if found.ranks else {}
            kinds = ", ".join(f"{number} {kind}" for kind, number in found.targets.items())
            facts = {**scale, "layers": found.layers, "targets": kinds}
        case EmbeddingIdentity(words=(word,)):
            facts = {"token": word.token, "vectors": word.vectors}
            facts["width"] = word.widths[0] if len(word.widths) == 1 else ", ".join(map(str, word.widths))
        case EmbeddingIdentity():
            facts = {"words": ", ".join(f"{word.token} ({word.vectors})" for word in found.words)}
    return facts
