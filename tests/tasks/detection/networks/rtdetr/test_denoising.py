import pytest
import torch

from vertebra.tasks.detection.networks.rtdetr.coordinates import inverse_sigmoid, to_corners
from vertebra.tasks.detection.networks.rtdetr.decoder import Decoder
from vertebra.tasks.detection.networks.rtdetr.denoising import Denoising, visibility
from vertebra.tasks.detection.networks.rtdetr.losses import SetLoss, Truth

BOXES = torch.tensor([[[0.5, 0.5, 0.2, 0.1], [0.4, 0.6, 0.1, 0.2]], [[0.5, 0.4, 0.2, 0.2], [0.0, 0.0, 0.0, 0.0]]])
LABELS = torch.tensor([[1, 3], [2, 0]])


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def test_each_group_has_every_box_near_and_far():
    noisy = Denoising(3, 4, num_queries=100, box_noise=0.4)(BOXES, LABELS, 7)  # so that no box is turned inside out
    assert noisy.num_groups == 50
    assert noisy.objects[0].tolist() == [0, 1, -1, -1] * 50
    assert noisy.objects[1].tolist() == [0, -1, -1, -1] * 50
    shifts = to_corners(noisy.references.sigmoid()) - to_corners(BOXES.repeat(1, 100, 1))
    shifts = (shifts / (0.5 * BOXES[..., 2:].repeat(1, 100, 2)))[0].abs().view(50, 2, 2, 4)  # in half sizes
    near, far = shifts[:, 0], shifts[:, 1]
    assert near.max() <= 0.401
    assert near.mean() == pytest.approx(0.2, abs=0.02)
    assert far.min() >= 0.399
    assert far.max() <= 0.801


def test_labels_are_drawn_again_and_padding_stays_padding():
    module = Denoising(3, 4, num_queries=2000)
    content = module(BOXES, LABELS, 7).content
    padding = module.embedding.weight[3]
    assert not padding.any()
    assert torch.equal(content[1, 1::2], padding.expand(content.shape[1] // 2, -1))
    right = (content[0, 0::2] == module.embedding.weight[0]).all(dim=1).float().mean()
    assert right == pytest.approx(1 - 0.25 * 2 / 3, abs=0.05)  # a quarter is drawn, of three classes


def test_without_noise_the_queries_are_the_boxes():
    noisy = Denoising(3, 4, num_queries=4, label_noise=0.0, box_noise=0.0)(BOXES, LABELS, 7)
    torch.testing.assert_close(noisy.references, inverse_sigmoid(BOXES).repeat(1, 4, 1), atol=1e-5, rtol=0)


def test_at_least_one_group():
    assert Denoising(3, 4, num_queries=1)(BOXES, LABELS, 7).num_groups == 1


def test_what_sees_what():
    seen = visibility(num_noisy=4, group=2, num_image_queries=2, device=torch.device("cpu"))
    assert seen.int().tolist() == [
        [1, 1, 0, 0, 1, 1],
        [1, 1, 0, 0, 1, 1],
        [0, 0, 1, 1, 1, 1],
        [0, 0, 1, 1, 1, 1],
        [0, 0, 0, 0, 1, 1],
        [0, 0, 0, 0, 1, 1],
    ]


GRIDS = ((12, 12), (6, 6))


def scenes(count, projection):
    """Boxes at random places, and pixels that show which of them are inside and of which class."""
    sizes = 0.25 + 0.25 * torch.rand(count, 1, 2)
    centers = sizes / 2 + (1 - sizes) * torch.rand(count, 1, 2)
    labels = torch.randint(1, 3, (count, 1))
    maps = []
    for height, width in GRIDS:
        y, x = torch.meshgrid((torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width, indexing="ij")
        distances = (torch.stack((x, y), dim=-1).view(1, -1, 2) - centers).abs()
        inside = (distances < sizes / 2).all(dim=-1).float()
        maps.append(torch.stack((inside, inside * (labels - 1)), dim=-1) @ projection)
    return Truth(torch.cat((centers, sizes), dim=-1), labels, torch.zeros(count, 0, 4)), torch.cat(maps, dim=1)


@pytest.mark.parametrize("seen", [True, False])
def test_the_decoder_learns_to_put_boxes_right_by_what_it_sees(seen):
    decoder, denoising = Decoder(1, 32, 2, 4, 64, 2, 4).train(), Denoising(2, 32, num_queries=10)
    torch.nn.init.zeros_(decoder.box_heads[0][-1].weight)
    torch.nn.init.zeros_(decoder.box_heads[0][-1].bias)
    optimizer = torch.optim.AdamW([*decoder.parameters(), *denoising.parameters()], lr=6e-3)
    projection, history = torch.randn(2, 32), []
    for _ in range(80 if seen else 40):
        truth, pixels = scenes(8, projection * seen)  # never the same again: nothing can be learned by heart
        noisy = denoising(truth.boxes, truth.labels, 0)
        logits, boxes = decoder(noisy.content, noisy.references, pixels, GRIDS, noisy.mask)
        losses = SetLoss()(logits, boxes, noisy.objects[None], truth)
        optimizer.zero_grad()
        sum(loss.sum() for loss in losses.values()).backward()
        optimizer.step()
        history.append(losses["loss_box_l1"].item())
    # blind it can only learn which boxes are likely
    assert (sum(history[-8:]) < 0.6 * sum(history[:8])) == seen
