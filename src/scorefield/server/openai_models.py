"""OpenAI's list of models."""

from fastapi import APIRouter

from scorefield.queue.shelf import UnknownModelError
from scorefield.server.desk import TheDesk
from scorefield.server.openai_shapes import OPENAI_ERRORS, ModelOut, ModelsOut

router = APIRouter(prefix="/v1/models", tags=["openai"])


@router.get("", responses=OPENAI_ERRORS)
def openai_models(desk: TheDesk) -> ModelsOut:
    """List the models that requests may name."""
    shelf = desk.jobs.shelf
    shipped = shelf.specs()
    return ModelsOut(
        data=[ModelOut(id=name, owned_by="scorefield" if name in shipped else "local") for name in shelf.names()]
    )


@router.get("/{model}", responses=OPENAI_ERRORS)
def openai_model(model: str, desk: TheDesk) -> ModelOut:
    """Tell whether there is a model of that name."""
    found = next((one for one in openai_models(desk).data if one.id == model), None)
    if found is None:
        raise UnknownModelError(f"no model {model[:80]!r} here; GET /v1/models lists them")
    return found
