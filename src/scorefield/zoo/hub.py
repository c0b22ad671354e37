"""Models on the Hugging Face hub, by name: the files that drawing needs, of one revision, in the hub's own cache."""

import errno
import glob
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from scorefield.errors import MachineError, MissingError, RequestError, ScorefieldError, UnsupportedError
from scorefield.weights.model_files import PIPELINE, UNREAD, no_variant, shards_of, standard

_NAME = re.compile(r"(hf:)?(?P<repo>[\w-][\w.-]*/[\w-][\w.-]*)(@(?P<revision>[\w./-]+))?(:(?P<file>[^:@\\]+))?")
_EXTRA = "models on the Hugging Face hub need huggingface_hub: pip install 'scorefield[hub]'"


@dataclass(frozen=True, slots=True, kw_only=True)
class HubName:
    """A repository, or one file of it, at a branch, a tag or a commit."""

    repo: str  # owner/name
    revision: str | None = None
    file: str | None = None

    def __str__(self) -> str:
        revision, file = self.revision and f"@{self.revision}", self.file and f":{self.file}"
        return f"hf:{self.repo}{revision or ''}{file or ''}"


class Fetched(NamedTuple):
    """A model that is now on this machine."""

    path: Path
    name: HubName  # as requested, with the commit of the files as its revision


def named(name: str) -> HubName | None:
    """The repository that a name means, hf:owner/name or owner/name; None for any other name, and for a path.

    The short form is a path if that path exists, and also if only its folder does: then its last part is mistyped.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    if not name.startswith("hf:") and (Path(name).exists() or Path(name).parent.is_dir()):
        return None
    return HubName(repo=match["repo"], revision=match["revision"], file=match["file"])


def fetch(name: HubName, variant: str | None = None) -> Fetched:
    """Download the files of a model that are missing here, with a progress bar; an interrupted download is resumed.

    Without a network, or with HF_HUB_OFFLINE, it returns what was downloaded before. MissingError in one line for a
    repository that does not exist or is gated, and for a hub that does not answer; MachineError for a full disk.
    """
    library = _library()
    with _source_errors(name, library):
        wanted = chosen(name, _listed(name, library), variant)
        patterns = [glob.escape(file) for file in wanted]
        folder = Path(library.snapshot_download(name.repo, revision=name.revision, allow_patterns=patterns))
    return Fetched(folder if len(wanted) > 1 else folder / wanted[0], replace(name, revision=folder.name))


def _library() -> ModuleType:
    try:
        import huggingface_hub
        import huggingface_hub.constants
        import huggingface_hub.errors
    except ImportError:
        raise MissingError(_EXTRA) from None
    return huggingface_hub


def chosen(name: HubName, names: Sequence[str], variant: str | None) -> list[str]:
    """Which files of a repository a model is loaded from: those of a pipeline's parts, or one file of weights."""
    if name.file is not None:
        if name.file not in names:
            raise MissingError(f"{name.repo} has no file {name.file!r}; it has {', '.join(_weights(names)) or 'none'}")
        return [name.file]
    if PIPELINE in names:
        wanted = [*_pipeline(names, variant)]
        if variant and not any(f".{variant}." in file or f".{variant}-" in file for file in wanted):
            parts = [file.rpartition("/")[2] for file in names if "/" in file and not file.startswith(UNREAD)]
            raise MissingError(f"{name.repo} {no_variant(parts, variant)}")
        return [PIPELINE, *wanted]
    single = _weights(names)
    if not single:
        raise UnsupportedError(f"{name.repo} is not a diffusers pipeline and has no weights file")
    if len(single) > 1:
        example = f"hf:{name.repo}:{single[0]}"
        raise RequestError(f"{name.repo} has several weights files: name one, as in {example}", option="model")
    return single


def _weights(names: Sequence[str]) -> list[str]:
    """The single files at the top, safetensors before pickles."""
    top = sorted(name for name in names if "/" not in name)
    return [name for name in top if name.endswith(".safetensors")] or [name for name in top if name.endswith(".ckpt")]


def _pipeline(names: Sequence[str], variant: str | None) -> Iterator[str]:
    folders: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        folder, _, file = name.partition("/")
        if file and "/" not in file and folder not in UNREAD:
            folders[folder].append(file)
    for folder, files in sorted(folders.items()):
        weights = standard(files, variant) or standard(files)
        texts = [file for file in files if file.endswith((".json", ".txt")) and not file.endswith(".index.json")]
        shards = shards_of(weights, files) if weights else []
        for file in sorted({*texts, *shards, *([weights] if weights else [])}):
            yield f"{folder}/{file}"


def _listed(name: HubName, library: ModuleType) -> list[str]:
    """The names of a repository's files, from the hub or, if it does not answer, from the cache."""
    try:
        return [one.rfilename for one in library.HfApi().model_info(name.repo, revision=name.revision).siblings or ()]
    except library.errors.HfHubHTTPError:
        raise
    except (library.errors.HTTPError, OSError):
        try:
            repos = library.scan_cache_dir(library.constants.HF_HUB_CACHE).repos
        except library.errors.CacheNotFound:
            repos = ()
        revisions = (one for repo in repos if repo.repo_id == name.repo for one in repo.revisions)
        wanted = name.revision or "main"
        cached = next((one for one in revisions if wanted in (one.commit_hash, *one.refs)), None)
        if cached is None:
            raise
        return [one.file_path.relative_to(cached.snapshot_path).as_posix() for one in cached.files]


@contextmanager
def _source_errors(name: HubName, library: ModuleType) -> Iterator[None]:
    """Turn the library's errors into one line."""
    constants, errors = library.constants, library.errors
    page = f"{constants.ENDPOINT}/{name.repo}"
    try:
        yield
    except ScorefieldError:
        raise
    except errors.GatedRepoError:
        raise MissingError(
            f"{name.repo} is gated: accept its terms at {page}, then log in with `hf auth login`"
        ) from None
    except errors.RepositoryNotFoundError:
        raise MissingError(
            f"there is no {name.repo}, neither as a path here nor at {page}; if it is private: `hf auth login`"
        ) from None
    except errors.RevisionNotFoundError:
        raise MissingError(f"{name.repo} has no revision {name.revision!r}: see {page}") from None
    except (errors.HTTPError, errors.EntryNotFoundError, errors.HFValidationError, OSError) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise MachineError(f"the disk is full: no room for {name.repo} in {constants.HF_HUB_CACHE}") from None
        first = str(error).strip().partition("\n")[0] or type(error).__name__
        why = f"the hub at {constants.ENDPOINT} cannot be used ({first[:160]})"
        if constants.HF_HUB_OFFLINE:
            why = "HF_HUB_OFFLINE is set"
        raise MissingError(
            f"{name.repo} is not a path here, is not downloaded ({constants.HF_HUB_CACHE}), and {why}"
        ) from None
