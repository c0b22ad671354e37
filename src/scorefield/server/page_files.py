"""The page: built files that ship with the package, and nothing else."""

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse
from starlette.exceptions import HTTPException

router = APIRouter(include_in_schema=False)
FOLDER = Path(__file__).parent / "page"
_TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_FOR_EVER = {"cache-control": "public, max-age=31536000, immutable"}  # an asset's name holds a hash of its content


@router.get("/")
def index() -> FileResponse:
    """The page; a browser asks each time whether it has changed."""
    return FileResponse(FOLDER / "index.html", media_type=_TYPES[".html"], headers={"cache-control": "no-cache"})


@router.get("/assets/{name}")
def asset(name: str) -> FileResponse:
    """A file of the page. Names are looked up, never joined to a path."""
    path = next((path for path in (FOLDER / "assets").iterdir() if path.name == name), None)
    if path is None:
        raise HTTPException(404, "the page has no such file")
    return FileResponse(path, media_type=_TYPES[path.suffix], headers=_FOR_EVER)
