"""Windows, sizes and flips agree with the whole image where they must."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from vertebra.tasks.segmentation.views import MultiScale, SlidingWindow, WholeImage


class Pointwise(nn.Module):
    """Says of each pixel what hangs on that pixel alone, and remembers what it was asked."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 4, 1)
        self.sizes = []

    def forward(self, images):
        self.sizes.append(tuple(images.shape[2:]))
        return self.conv(images)


@pytest.mark.parametrize("size", [(37, 53), (16, 16), (16, 61), (9, 11), (100, 16)])
@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.5, 0.9])
def test_windows_of_a_pointwise_network_are_the_whole_image(size, overlap):
    network, images = Pointwise(), torch.randn(2, 3, *size)
    probs = SlidingWindow((16, 24), overlap)(network, images)
    assert set(network.sizes) == {(16, 24)}
    torch.testing.assert_close(probs, WholeImage()(network, images), atol=1e-6, rtol=1e-5)


def test_windows_are_weighted_towards_their_center():
    class Place(nn.Module):
        """Is sure in the middle of its window, and wrong at its edges."""

        def forward(self, images):
            n, _, height, width = images.shape
            edge = (torch.arange(width) < 3) | (torch.arange(width) >= width - 3)
            wrong = edge.float().expand(n, height, width)
            return torch.stack([1 - wrong, wrong], dim=1) * 20

    probs = SlidingWindow((8, 16), 0.5)(Place(), torch.zeros(1, 3, 8, 40))
    assert (probs[0, 0, :, 3:-3] > 0.5).all()


@pytest.mark.parametrize("side", [16, 17, 23, 24, 31, 32, 33, 48, 65])
def test_window_stride_does_not_exceed_the_limit(side):
    starts = []

    class Column(nn.Module):
        def forward(self, images):
            starts.append(int(images[0, 0, 0, 0]))
            return images

    images = torch.arange(side).float().expand(1, 2, 16, side)
    SlidingWindow((16, 16), 0.5)(Column(), images)
    assert (starts[0], starts[-1]) == (0, side - 16)
    assert all(0 < after - before <= 8 for before, after in pairwise(starts))


def test_flipped_views_are_flipped_back():
    torch.manual_seed(0)
    network, images = nn.Conv2d(3, 4, 3, padding=1), torch.randn(1, 3, 12, 20)
    both = MultiScale(scales=[1.0])(network, images)
    torch.testing.assert_close(MultiScale(scales=[1.0])(network, images.flip(3)).flip(3), both)
    assert not torch.equal(both, WholeImage()(network, images))
    torch.testing.assert_close(MultiScale([1.0], flip=False)(network, images), WholeImage()(network, images))


def test_scales_are_averaged_at_the_image_size():
    network, images = Pointwise(), torch.rand(1, 3, 1, 1).expand(1, 3, 20, 30)
    probs = MultiScale((0.5, 1.0, 1.5), views=SlidingWindow((10, 10)))(network, images)
    torch.testing.assert_close(probs, WholeImage()(network, images), atol=1e-6, rtol=1e-5)  # of one color
    asked = Pointwise()
    MultiScale((0.5, 1.5), flip=True)(asked, images)
    assert asked.sizes == [(10, 15)] * 2 + [(30, 45)] * 2


@pytest.mark.parametrize(
    "build", [lambda: SlidingWindow((0, 4)), lambda: SlidingWindow((4, 4), 1.0), lambda: MultiScale([])]
)
def test_invalid_view_options_are_refused(build):
    with pytest.raises(ValueError, match=r"size is|scales are"):
        build()
