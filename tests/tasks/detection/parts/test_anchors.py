import pytest
import torch
from torchvision.models.detection.anchor_utils import AnchorGenerator as TheirAnchorGenerator
from torchvision.models.detection.image_list import ImageList

from vertebra.backbones import Level
from vertebra.tasks.detection.parts.anchors import AnchorGenerator, fitting_anchors

RATIOS = (0.5, 1.0, 2.0)


def grids_of(height, width):
    """Grids of P2..P6 below a padded image; P6 is every second pixel of P5."""
    grids = [(height // reduction, width // reduction) for reduction in (4, 8, 16, 32)]
    return (*grids, (-(-grids[-1][0] // 2), -(-grids[-1][1] // 2)))


@pytest.mark.parametrize("size", [(64, 128), (96, 160), (224, 32), (32, 32)])  # only the first is a multiple of 64
@pytest.mark.parametrize(
    "sizes", [((32,), (64,), (128,), (256,), (512,)), tuple((x, x * 2 ** (1 / 3), x * 1.7) for x in (4, 9, 16, 32, 65))]
)
def test_equals_torchvisions(size, sizes):
    grids = grids_of(*size)
    theirs = TheirAnchorGenerator(sizes, (RATIOS,) * 5)
    expected = theirs(ImageList(torch.zeros(1, 3, *size), [size]), [torch.zeros(1, 1, *grid) for grid in grids])[0]
    ours = AnchorGenerator(sizes, RATIOS)
    assert ours.num_anchors == theirs.num_anchors_per_location()[0]
    found = ours(grids, size, torch.device("cpu"))
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


def test_the_cache_keeps_sizes_apart_and_stays_small():
    anchors = AnchorGenerator(((8,),), (1.0,))
    for width in range(1, 101):
        found = anchors(((1, width),), (4, 4 * width), torch.device("cpu"))
        assert found[:, 0].tolist() == [4.0 * x - 4 for x in range(width)]
    assert len(anchors._cache) <= 64
    of_two_sizes = [anchors(((1, 2),), size, torch.device("cpu"))[:, 0].tolist() for size in ((4, 8), (8, 16))]
    assert of_two_sizes == [[-4, 0], [-4, 4]]


def test_as_many_sizes_as_levels():
    with pytest.raises(ValueError, match="given for 2 levels, but the pyramid has 5; give as many"):
        AnchorGenerator(((8,), (16,))).candidates([torch.zeros(1, 1, *grid) for grid in grids_of(64, 64)], (64, 64))
    with pytest.raises(ValueError, match="every level needs the same number"):
        AnchorGenerator(((8,), (16, 20)))


def test_fitting_anchors_are_torchvisions_for_ordinary_levels():
    fitting, usual = fitting_anchors([Level(f"P{i}", 6, 2**i) for i in range(2, 7)]), AnchorGenerator()
    for ours, expected in zip(fitting.shapes, usual.shapes, strict=True):
        assert torch.equal(ours, expected)


def test_fitting_anchors_follow_the_reductions():
    anchors = fitting_anchors([Level("P2", 6, 1), Level("P3", 6, 2), Level("P4", 6, 2)])
    squares = [shapes[1] for shapes in anchors.shapes]  # the ratio 1 is in the middle
    assert [(x2 - x1).item() for x1, _, x2, _ in squares] == [8, 16, 16]
    with pytest.raises(ValueError, match="not volumes: take a 2-D backbone"):
        fitting_anchors([Level("P2", 6, (1, 4, 4))])


def test_several_scales_are_cut_to_whole_pixels():
    levels = [Level(f"P{i}", 6, 2**i) for i in range(3, 8)]
    found = fitting_anchors(levels, [4 * 2 ** (i / 3) for i in range(3)])
    expected = AnchorGenerator([(x, int(x * 2 ** (1 / 3)), int(x * 2 ** (2 / 3))) for x in (32, 64, 128, 256, 512)])
    for ours, usual in zip(found.shapes, expected.shapes, strict=True):
        assert torch.equal(ours, usual)
    assert fitting_anchors(levels, (1,), (1.0,)).shapes[0].tolist() == [[-4, -4, 4, 4]]


def test_candidates_count_the_anchors_of_each_level():
    anchors = AnchorGenerator(((8,), (16,)), (1.0, 2.0))
    maps = [torch.zeros(2, 5, 4, 6), torch.zeros(2, 5, 2, 3)]
    found = anchors.candidates(maps, (16, 24))
    assert found.levels == (48, 12)
    assert torch.equal(found.boxes, anchors(((4, 6), (2, 3)), (16, 24), torch.device("cpu")))
