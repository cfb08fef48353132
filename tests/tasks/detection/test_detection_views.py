"""Test-time views, with a detector that finds what is brighter than the background, wherever it is."""

import pytest
import torch

from vertebra.tasks.detection import DetectionSelection, SoftNMS, Views, mask_rcnn, retinanet
from vertebra.tasks.detection.parts.batch import ImageBatch, pad_images
from vertebra.tasks.detection.parts.masks import paste_masks

SIZES = [(64, 96), (80, 48)]


def find_bright(batch: ImageBatch):
    """One object an image, in the class of its shade: 1 above 0.5, 2 from 1.5 on; the mask is what is bright."""
    found = []
    for image, (height, width) in zip(batch.images, batch.sizes.tolist(), strict=True):
        inside = image[0, :height, :width]
        bright = inside > 0.5
        rows, columns = bright.any(1).nonzero()[:, 0], bright.any(0).nonzero()[:, 0]
        x1, y1, x2, y2 = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
        crop = bright[y1:y2, x1:x2].float()
        mask = torch.nn.functional.interpolate(crop[None, None], size=(28, 28), mode="bilinear")[0]
        label = 2 if inside.max() > 1.5 else 1
        found.append(
            {
                "boxes": torch.stack((x1, y1, x2, y2)).float()[None],
                # the score depends on the view, so that the best is known
                "scores": torch.tensor([0.5 + 0.001 * height]),
                "labels": torch.tensor([label]),
                "mask_probs": mask,
            }
        )
    return found


@pytest.fixture
def batch():
    images = [torch.zeros(3, *size) for size in SIZES]
    images[0][:, 10:40, 8:28] = 1.0
    images[0][:, 28:40, 28:52] = 1.0  # an L, whose mirror image is another
    images[1][:, 30:70, 4:24] = 2.0
    return pad_images(images)


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("flip", [False, True])
def test_each_view_comes_back_to_the_pixels_of_the_image(batch, scale, flip):
    seen = []

    def network(view):
        seen.append(view)
        found = find_bright(view)
        if flip and len(seen) == 1:  # only what the mirror image shows is left
            found = [{name: column[:0] for name, column in rows.items()} for rows in found]
        return found

    found = Views(flip=flip, scales=[scale])(network, batch)
    assert len(seen) == 1 + flip
    assert seen[0].sizes.tolist() == [[round(h * scale), round(w * scale)] for h, w in SIZES]
    wanted = find_bright(batch)
    for rows, truth, size in zip(found, wanted, SIZES, strict=True):
        torch.testing.assert_close(rows["boxes"], truth["boxes"], atol=2.0, rtol=0)
        assert torch.equal(rows["labels"], truth["labels"])
        mask, expected = (paste_masks(x["mask_probs"], truth["boxes"], *size) for x in (rows, truth))
        assert (mask & expected).sum() / (mask | expected).sum() > 0.9


def test_what_several_views_find_is_reported_once_with_the_best_score(batch):
    found = Views(flip=True, scales=(0.5, 1.0, 2.0))(find_bright, batch)
    assert [rows["scores"].tolist() for rows in found] == [[pytest.approx(0.628)], [pytest.approx(0.66)]]
    soft = Views(merge=DetectionSelection(0.0, soft_nms=SoftNMS("gaussian")))(find_bright, batch)
    assert [len(rows["scores"]) for rows in soft] == [2, 2]
    assert soft[0]["scores"].tolist() == pytest.approx([0.564, 0.564 * torch.e**-2], rel=1e-3)
    one = Views(merge=DetectionSelection(0.6))(find_bright, batch)
    assert [len(rows["scores"]) for rows in one] == [0, 0]
    assert one[0]["mask_probs"].shape == (0, 28, 28)


def test_different_classes_and_places_are_all_kept(batch):
    def network(view):
        found = find_bright(view)
        return [{**rows, "labels": rows["labels"] + len(calls)} for rows in found]

    calls = [0]
    assert all(len(rows["labels"]) == 1 for rows in Views()(network, batch))

    def alternating(view):
        calls.append(0)
        return network(view)

    found = Views()(alternating, batch)
    assert [len(rows["labels"]) for rows in found] == [2, 2]
    assert Views(merge=DetectionSelection(0.0, per_image=1))(alternating, batch)[0]["labels"].shape == (1,)


@pytest.mark.parametrize("build", [mask_rcnn, retinanet])
def test_one_view_is_the_network_and_several_are_finite(build):
    torch.manual_seed(0)
    network = build("resnet18", 2, channels=16, norm="group").eval()
    batch = pad_images([torch.randn(3, *size) for size in SIZES])
    alone, views = network(batch), Views(flip=False, merge=DetectionSelection(0.0, 0.5, per_image=1000))
    for rows, other in zip(views(network, batch), alone, strict=True):
        assert rows.keys() == other.keys()
        for name, column in rows.items():
            torch.testing.assert_close(column, other[name])
    for rows, (height, width) in zip(Views(scales=(1.0, 1.5))(network, batch), SIZES, strict=True):
        assert len({len(column) for column in rows.values()}) == 1
        assert (rows["boxes"] >= 0).all()
        assert (rows["boxes"] <= torch.tensor([width, height] * 2)).all()


def test_views_without_a_scale_are_refused():
    with pytest.raises(ValueError, match=r"views.scales are \[0.0\]"):
        Views(scales=[0.0])
