"""Look up the names that users type, in any spelling; an unknown name gets the nearest ones."""

import re
from collections.abc import Collection, Mapping
from difflib import get_close_matches

from scorefield.errors import RequestError


def normal_form(name: str) -> str:
    """Lower case, words joined by underscores: "SGM Uniform" and "sgm-uniform" are both sgm_uniform."""
    return "_".join(re.split(r"[\s_-]+", name.strip().lower()))


def canonical(kind: str, name: str, known: Collection[str], aliases: Mapping[str, str]) -> str:
    """Resolve a typed name, or an alias, to the name in `known`, however it is spelt.

    RequestError for an unknown name, in one line that calls it a `kind` and lists the nearest names.
    """
    form = normal_form(name)
    form = aliases.get(form, form)
    if form in known:
        return form
    near = get_close_matches(form, [*known, *aliases], n=3, cutoff=0.5)
    listed = f"{'nearest' if near else 'known'}: {', '.join(near or sorted(known))}"
    raise RequestError(f"unknown {kind} {name!r}; {listed}", option=kind.partition(" ")[0])
