"""Differentiable augmentation: what each kind changes, and that gradients pass through it."""

import pytest
import torch

from vertebra.tasks.generation import DiffAugment


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_a_translation_moves_whole_pixels_and_leaves_gray_behind() -> None:
    images = torch.zeros(64, 3, 16, 24)
    images[:, :, 8, 12] = 1.0
    found = DiffAugment(["translation"])(images)
    sample, _, rows, columns = found.nonzero(as_tuple=True)
    assert len(sample) == 64 * 3
    assert (found.sum(dim=(1, 2, 3)) == 3).all()
    # an eighth of a side either way, and all of it is drawn
    assert set(rows.tolist()) == set(range(6, 11))
    assert set(columns.tolist()) == set(range(9, 16))
    assert (DiffAugment(["translation"])(torch.ones(64, 3, 16, 24)) == 0).any()


def test_a_cutout_is_a_square_of_half_the_side() -> None:
    found = DiffAugment(["cutout"])(torch.ones(256, 3, 16, 16))
    cut = (found == 0).all(dim=1)
    assert ((found == 0) | (found == 1)).all()
    sizes = cut.sum(dim=(1, 2))
    assert sizes.max() == 8 * 8
    assert sizes.min() >= 4 * 4  # in part outside of the image
    for mask in cut[:20]:
        rows, columns = mask.any(dim=1).sum(), mask.any(dim=0).sum()
        assert mask.sum() == rows * columns  # a rectangle without holes


def test_color_keeps_places_and_differs_by_image() -> None:
    images = torch.rand(1, 3, 4, 4).expand(8, -1, -1, -1)
    found = DiffAugment(["color"])(images)
    assert len({round(image.mean().item(), 4) for image in found}) == 8
    assert (found.mean(dim=(1, 2, 3)) - images.mean(dim=(1, 2, 3))).abs().max() <= 0.5 + 1e-6
    assert (found.flatten(1).std(dim=1) > 0.05).all()  # some contrast is left
    flat = DiffAugment(["color"])(torch.full((4, 3, 2, 2), 0.25))
    assert (flat - flat[:, :1, :1, :1]).abs().max() < 1e-6  # a gray image has neither saturation nor contrast


def test_gradients_reach_the_images_and_none_is_the_identity() -> None:
    images = torch.rand(4, 3, 16, 16, requires_grad=True)
    DiffAugment()(images).sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0
    assert DiffAugment([])(images) is images


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="'flip' does not exist; choose from color, translation, cutout"):
        DiffAugment(["flip"])
