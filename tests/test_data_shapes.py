from pathlib import Path

import pytest
import torch

from scorefield.data import shapes

ALL = sorted(shapes.SHAPES)


def source(seed=0):
    return torch.Generator().manual_seed(seed)


def csv(folder: Path, text: str) -> Path:
    path = folder / "points.csv"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ALL)
def test_a_shape_is_centred_and_has_unit_variance(name):
    x, label = shapes.find(name).draw(40_000, source())
    assert x.dtype == torch.float32
    assert x.shape == (40_000, 2)
    assert label.shape == (40_000,)
    assert x.mean(0).abs().max() < 0.03
    assert abs(float(x.var(0).mean()) - 1) < 0.03


def test_the_quadrature_of_the_spiral_is_finer_than_its_blur():
    spiral = shapes.spiral()
    gaps = (spiral.nodes[1:] - spiral.nodes[:-1]).norm(dim=1)
    assert gaps.max() < spiral.spread


def test_the_classes_of_the_spiral_lie_from_inside_out_and_are_equally_many():
    spiral = shapes.spiral()
    assert spiral.label.bincount().tolist() == [500, 500, 500]
    centre = spiral.nodes[0]
    away = [(spiral.only(k).nodes - centre).norm(dim=1).mean() for k in range(3)]
    assert away[0] < away[1] < away[2]


def test_a_draw_comes_near_every_node_and_lies_near_one():
    ring = shapes.ring()
    x, _ = ring.draw(4000, source())
    distance = torch.cdist(x.double(), ring.nodes)
    assert distance.min(0).values.max() < ring.spread  # every node
    assert distance.min(1).values.max() < 5 * ring.spread  # every draw


def test_a_seed_draws_the_same_points():
    one, other, another = (shapes.moons().draw(5, source(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(one, other)
    assert not torch.equal(one, another)


@pytest.mark.parametrize("heading", ["", "x,y\n", "\ufeffx, y\n"])
def test_a_csv_gives_its_points_centred_and_scaled(tmp_path, heading):
    shape = shapes.find(str(csv(tmp_path, heading + "1,10\n\n3,10\n1,14\n3,14\n")))
    expected = torch.tensor([[-1.0, -2.0], [1.0, -2.0], [-1.0, 2.0], [1.0, 2.0]], dtype=torch.float64) / 2.5**0.5
    assert torch.allclose(shape.nodes, expected)
    assert shape.spread == 0
    assert shape.name == "points"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("1,2\nthree,4\n", "line 2: 'three,4' is not two numbers"),
        ("1,2\nnan,4\n", "line 2: 'nan,4' is not two finite numbers"),
        ("1,2\ninf,4\n", "line 2: 'inf,4' is not two finite numbers"),
        ("1,2\n1,2,3\n", "line 2: '1,2,3' is not two numbers"),
        ("1,2\n5\n", "line 2: '5' is not two numbers"),
        ("1,2\n", "has 1 points"),
        ("x,y\n", "has 0 points"),
        ("", "has 0 points"),
        ("1,2\n1,2\n", "all points are the same"),
    ],
)
def test_a_csv_that_holds_no_points_is_one_line_that_says_where(tmp_path, text, told):
    path = csv(tmp_path, text)
    with pytest.raises(shapes.ShapeError) as caught:
        shapes.from_csv(path)
    assert told in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_csv_of_a_million_points_is_refused_soon(tmp_path):
    with pytest.raises(shapes.ShapeError, match="has 1,000,000 points; give from 2 to 20,000"):
        shapes.from_csv(csv(tmp_path, "1,2\n" * 1_000_000))


@pytest.mark.parametrize("data", [b"\x89PNG\r\n\x1a\n\xff\xfe", b"1,2\n\xff,3\n"])
def test_a_file_that_is_not_text_is_refused(tmp_path, data):
    path = tmp_path / "points.csv"
    path.write_bytes(data)
    with pytest.raises(shapes.ShapeError, match="not a text file"):
        shapes.from_csv(path)


def test_unknown_shapes_and_missing_files_are_refused(tmp_path):
    with pytest.raises(shapes.ShapeError, match=r"no shape 'spirale'; the shapes are spiral, moons"):
        shapes.find("spirale")
    with pytest.raises(shapes.ShapeError, match="No such file"):
        shapes.find(str(tmp_path / "none.csv"))
    with pytest.raises(shapes.ShapeError, match="Is a directory"):
        shapes.from_csv(tmp_path)
