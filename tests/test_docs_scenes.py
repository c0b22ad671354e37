"""The sheet of scenes in docs/ shows the scenes as they are drawn now."""

import runpy
from pathlib import Path

import numpy as np
from PIL import Image

from scorefield.data.paint import SIZE
from scorefield.data.render import render

SCRIPT = Path(__file__).parents[1] / "docs" / "make_scenes_sheet.py"


def test_the_sheet_shows_these_scenes() -> None:
    names = runpy.run_path(str(SCRIPT))
    held, drawn = Image.open(names["OUTPUT"]).convert("RGB"), names["sheet"]()
    assert held.size == drawn.size
    scenes = names["shown"]()
    assert sum(len(row) for row in scenes) == 36
    for row, some in enumerate(scenes):
        for column, one in enumerate(some):
            left, top = names["corner"](row, column)
            for sheet in (held, drawn):
                assert np.array_equal(np.asarray(sheet.crop((left, top, left + SIZE, top + SIZE))), render(one))
