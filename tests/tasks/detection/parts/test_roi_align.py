import pytest
import torch
from torchvision.ops import MultiScaleRoIAlign

from vertebra.backbones import Level
from vertebra.tasks.detection.parts.roi_align import RoIAlign, weighted_sums

HEIGHT, WIDTH = 512, 480
LEVELS = tuple(Level(f"P{i}", 6, 2**i) for i in range(2, 6))


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def pyramid(num_images=2, channels=6, dtype=torch.float32):
    return {
        level.name: torch.randn(num_images, channels, HEIGHT // level.reduction, WIDTH // level.reduction, dtype=dtype)
        for level in LEVELS
    }


def boxes_of_every_kind(num_images=2):
    sizes = 2.0 ** (1 + 8 * torch.rand(num_images, 30, 1) + torch.rand(num_images, 30, 2))  # 2 to 1024 pixels
    centers = torch.rand(num_images, 30, 2) * torch.tensor([WIDTH, HEIGHT])
    special = torch.tensor(
        [
            [0.0, 0.0, WIDTH, HEIGHT],
            [-50.0, -20.0, 30.0, 40.0],
            [WIDTH - 10.0, HEIGHT - 10.0, WIDTH + 60.0, HEIGHT + 80.0],
            [WIDTH + 20.0, 5.0, WIDTH + 60.0, 30.0],  # outside altogether
            [20.0, 20.0, 20.3, 20.2],
            [7.0, 7.0, 7.0, 7.0],
            [0.0, 0.0, 0.0, 0.0],
            [0.0, 100.0, WIDTH, 103.0],
            [0.0, 0.0, 112.0, 112.0],  # at the border between two levels
        ]
    )
    boxes = torch.cat((centers - sizes / 2, centers + sizes / 2), dim=-1)
    return torch.cat((boxes, special.expand(num_images, -1, -1)), dim=1)


def theirs(maps, boxes, output_size=7, ratio=2):
    pooler = MultiScaleRoIAlign(list(maps), output_size, ratio)
    return pooler(maps, list(boxes), [(HEIGHT, WIDTH)] * len(boxes))


@pytest.mark.parametrize(("output_size", "ratio"), [(7, 2), (5, 1), (2, 3)])
def test_values_and_gradients_equal_torchvisions(output_size, ratio):
    boxes, maps = boxes_of_every_kind(), pyramid()
    levels = RoIAlign(LEVELS).assign(boxes)
    assert levels.unique().tolist() == [0, 1, 2, 3]
    ours_of = {name: x.clone().requires_grad_() for name, x in maps.items()}
    theirs_of = {name: x.clone().requires_grad_() for name, x in maps.items()}
    found = RoIAlign(LEVELS, output_size, ratio)(ours_of, boxes)
    expected = theirs(theirs_of, boxes, output_size, ratio)
    assert found.shape == (boxes.shape[0] * boxes.shape[1], 6, output_size, output_size)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-4)
    weights = torch.randn_like(expected)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    for name in maps:
        torch.testing.assert_close(ours_of[name].grad, theirs_of[name].grad, rtol=1e-4, atol=1e-3)


def test_gradient_is_that_of_the_numbers():
    levels = (Level("P2", 2, 4), Level("P3", 2, 8))
    maps = [torch.randn(1, 2, 5, 4, dtype=torch.float64, requires_grad=True)]
    maps.append(torch.randn(1, 2, 3, 2, dtype=torch.float64, requires_grad=True))
    boxes = torch.tensor([[[1.0, 2.0, 9.0, 17.0], [-3.0, 4.0, 200.0, 190.0]]])
    pooler = RoIAlign(levels, output_size=2)
    assert torch.autograd.gradcheck(lambda p2, p3: pooler({"P2": p2, "P3": p3}, boxes), maps)


def test_levels_follow_the_paper():
    sides = torch.tensor([1.0, 56.0, 111.9, 112.0, 223.9, 224.0, 447.9, 448.0, 5000.0])
    boxes = torch.stack((sides * 0, sides * 0, sides, sides), dim=-1)
    assert (RoIAlign(LEVELS).assign(boxes) + 2).tolist() == [2, 2, 2, 3, 3, 4, 4, 5, 5]


def test_levels_follow_the_reductions_and_not_the_names():
    sides = torch.tensor([1.0, 20.0, 30.0, 60.0, 120.0, 5000.0])
    boxes = torch.stack((sides * 0, sides * 0, sides, sides), dim=-1)
    fine = tuple(Level(f"P{i + 2}", 6, 2**i) for i in range(3))
    assert RoIAlign(fine).assign(boxes).tolist() == [0, 0, 1, 2, 2, 2]
    dilated = (*LEVELS[:3], Level("P5", 6, 16))
    assert RoIAlign(dilated).assign(boxes).tolist() == [0, 0, 0, 0, 1, 3]


def test_a_constant_map_gives_its_constant():
    maps = {name: torch.full_like(x, 3.0) for name, x in pyramid().items()}
    boxes = torch.tensor([[[5.0, 5.0, 50.0, 90.0]], [[0.0, 0.0, WIDTH, HEIGHT]]])
    torch.testing.assert_close(RoIAlign(LEVELS)(maps, boxes), torch.full((2, 6, 7, 7), 3.0))


def test_images_do_not_mix():
    maps, boxes = pyramid(3), boxes_of_every_kind(3)
    together = RoIAlign(LEVELS)(maps, boxes).view(3, -1, 6, 7, 7)
    for i in range(3):
        alone = RoIAlign(LEVELS)({name: x[i : i + 1] for name, x in maps.items()}, boxes[i : i + 1])
        torch.testing.assert_close(together[i], alone)


def test_coarser_levels_are_not_asked():
    maps, boxes = pyramid(), boxes_of_every_kind()
    more = maps | {"P6": torch.full((2, 6, 8, 7), float("nan"))}
    assert torch.equal(RoIAlign(LEVELS)(more, boxes), RoIAlign(LEVELS)(maps, boxes))


def test_bfloat16_is_close():
    maps, boxes = pyramid(), boxes_of_every_kind()
    half = {name: x.bfloat16().requires_grad_() for name, x in maps.items()}
    found = RoIAlign(LEVELS)(half, boxes)
    assert found.dtype == torch.bfloat16
    expected = RoIAlign(LEVELS)({name: x.detach().float() for name, x in half.items()}, boxes)
    torch.testing.assert_close(found.float(), expected, rtol=0.02, atol=0.05)
    found.sum().backward()
    assert all(x.grad.isfinite().all() for x in half.values())


def test_gradients_of_bfloat16_add_up_in_float32():
    rows, weights = torch.randint(5, (4000, 16)), torch.rand(4000, 16).bfloat16()
    table = torch.randn(5, 3).bfloat16().requires_grad_()
    weighted_sums(table, rows, weights).sum().backward()
    expected = torch.zeros(5, dtype=torch.float64).index_add(0, rows.flatten(), weights.flatten().double())
    torch.testing.assert_close(table.grad.double(), expected[:, None].expand(5, 3), rtol=2**-8, atol=0)


def test_memory_format_of_the_maps_does_not_matter():
    maps, boxes = pyramid(), boxes_of_every_kind()
    innermost = {name: x.contiguous(memory_format=torch.channels_last) for name, x in maps.items()}
    assert torch.equal(RoIAlign(LEVELS)(innermost, boxes), RoIAlign(LEVELS)(maps, boxes))


def test_no_boxes():
    maps = {name: x.requires_grad_() for name, x in pyramid().items()}
    pooled = RoIAlign(LEVELS)(maps, torch.zeros(2, 0, 4))
    assert pooled.shape == (0, 6, 7, 7)
    pooled.sum().backward()


def test_volumes_are_refused():
    with pytest.raises(ValueError, match="from the levels of images, not volumes"):
        RoIAlign((Level("P2", 6, (4, 4, 4)),))
