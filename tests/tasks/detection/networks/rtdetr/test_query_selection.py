import torch

from vertebra.tasks.detection.networks.rtdetr.query_selection import QuerySelection, start_boxes

GRIDS = ((2, 3), (1, 60))


def test_a_box_around_each_pixel_that_doubles_with_the_level():
    references, valid = start_boxes(GRIDS, torch.device("cpu"))
    boxes = references.sigmoid()
    assert references.shape == (66, 4)
    torch.testing.assert_close(boxes[4], torch.tensor([0.5, 0.75, 0.05, 0.05]))
    torch.testing.assert_close(boxes[6 + 15], torch.tensor([15.5 / 60, 0.5, 0.1, 0.1]))
    assert (~valid).nonzero().flatten().tolist() == [6, 65]  # centers at 0.5 / 60 and 59.5 / 60
    assert (references[~valid] == torch.finfo(torch.float32).max).all()


def test_the_best_pixels_become_queries():
    torch.manual_seed(0)
    module = QuerySelection(4, num_classes=3, num_queries=5)
    pixels = torch.randn(2, 66, 4, requires_grad=True)
    found = module(pixels, GRIDS)
    every = QuerySelection(4, num_classes=3, num_queries=999)
    every.load_state_dict(module.state_dict())
    scores = every(pixels, GRIDS).logits.amax(dim=-1)
    assert scores.shape == (2, 66)
    torch.testing.assert_close(found.logits.amax(dim=-1), scores[:, :5])
    assert (scores.diff(dim=1) <= 0).all()
    assert not found.content.requires_grad
    assert found.references.requires_grad
