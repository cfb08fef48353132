"""torchvision's detector is the oracle: same weights, same numbers."""

import math

import pytest
import torch
from torch import nn
from torchvision.models.detection import FasterRCNN as TheirFasterRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

from vertebra.tasks.detection import ProposalSelection, faster_rcnn, load_weights
from vertebra.tasks.detection.parts.sampling import BalancedSampler

NUM_CLASSES = 5
EVERYTHING = 1_000_000
NUM_PROPOSALS = 200


def randomize(network: nn.Module) -> None:
    """Give weights, norms and statistics values that no two layers share, so that swapped ones are seen."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.normal_(module.weight, std=1.0 / math.sqrt(module.weight[0].numel()))
            if module.bias is not None:
                nn.init.normal_(module.bias, std=0.1)
        elif hasattr(module, "running_var"):
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(std=0.2)
            module.running_mean.normal_(std=0.2)
            module.running_var.uniform_(0.5, 2.0)


def build_theirs(name: str, **options: float) -> TheirFasterRCNN:
    torch.manual_seed(0)
    body = resnet_fpn_backbone(backbone_name=name, weights=None, norm_layer=nn.BatchNorm2d, trainable_layers=5)
    theirs = TheirFasterRCNN(body, NUM_CLASSES + 1, image_mean=[0.0] * 3, image_std=[1.0] * 3, **options)
    theirs.transform.resize = lambda image, target: (image, target)
    randomize(theirs)
    return theirs


def spread_classes(theirs: TheirFasterRCNN, images: list[torch.Tensor]) -> None:
    """Center the logits over the proposals and stretch them: random weights alone see one class everywhere."""
    seen = []
    hook = theirs.roi_heads.box_predictor.register_forward_hook(lambda module, inputs, outputs: seen.append(outputs[0]))
    with torch.no_grad():
        theirs(images)
    hook.remove()
    layer, stretch = theirs.roi_heads.box_predictor.cls_score, 1.5 / seen[0].std(dim=0)
    layer.bias.data = (layer.bias.data - seen[0].mean(dim=0)) * stretch
    layer.weight.data *= stretch[:, None]


def images_and_targets() -> tuple[list[torch.Tensor], list[dict[str, torch.Tensor]]]:
    torch.manual_seed(1)
    images = [torch.randn(3, 160, 203), torch.randn(3, 190, 128)]
    targets = [
        {
            "boxes": torch.tensor([[10.0, 12.0, 90.0, 70.0], [5.0, 60.0, 30.0, 150.0], [100.0, 20.0, 200.0, 158.0]]),
            "labels": torch.tensor([1, 5, 3]),
        },
        {"boxes": torch.tensor([[20.0, 30.0, 60.0, 180.0]]), "labels": torch.tensor([2])},
    ]
    return images, targets


# by default one of them with each block, as the networks differ in nothing else
@pytest.mark.parametrize("name", [pytest.param("resnet18", marks=pytest.mark.slow), "resnet50"])
def test_detections_equal_torchvisions(name: str) -> None:
    images, _ = images_and_targets()
    theirs = build_theirs(name).eval()
    spread_classes(theirs, images)
    ours = faster_rcnn(name, NUM_CLASSES).eval()
    load_weights(ours, theirs.state_dict())
    with torch.no_grad():
        expected, found = theirs(images), ours(images)
    for ours_of_image, theirs_of_image in zip(found, expected, strict=True):
        assert len(theirs_of_image["boxes"]) > 20
        assert theirs_of_image["labels"].unique().numel() > 1
        assert torch.equal(ours_of_image["labels"], theirs_of_image["labels"])
        torch.testing.assert_close(ours_of_image["boxes"], theirs_of_image["boxes"], atol=1e-2, rtol=0)
        torch.testing.assert_close(ours_of_image["scores"], theirs_of_image["scores"], atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["resnet18", pytest.param("resnet50", marks=pytest.mark.slow)])
def test_losses_and_gradients_equal_torchvisions(name: str) -> None:
    # every box is sampled, so that chance has no part in it
    theirs = build_theirs(
        name,
        rpn_batch_size_per_image=EVERYTHING,
        box_batch_size_per_image=EVERYTHING,
        rpn_positive_fraction=0.5,
        box_positive_fraction=0.5,
        rpn_pre_nms_top_n_train=NUM_PROPOSALS,
        rpn_post_nms_top_n_train=NUM_PROPOSALS,
    )
    ours = faster_rcnn(name, NUM_CLASSES, proposals=ProposalSelection(NUM_PROPOSALS, NUM_PROPOSALS))
    load_weights(ours, theirs.state_dict())
    ours.rpn.sampler = BalancedSampler(EVERYTHING, 0.5)
    ours.roi_heads.sampler = BalancedSampler(EVERYTHING, 0.5)
    for network in (ours, theirs):
        network.train()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
    images, targets = images_and_targets()
    expected, found = theirs(images, targets), ours(images, targets)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, atol=1e-4, rtol=1e-5, msg=lambda text, key=key: f"{key}: {text}")

    sum(expected.values()).backward()
    sum(found.values()).backward()
    pairs = [
        (ours.backbone.conv1, theirs.backbone.body.conv1),
        (ours.neck.inner_blocks[0][0], theirs.backbone.fpn.inner_blocks[0][0]),
        (ours.rpn.head.cls_logits, theirs.rpn.head.cls_logits),
        (ours.roi_heads.box.head.fc6, theirs.roi_heads.box_head.fc6),
    ]
    for our_layer, their_layer in pairs:
        scale = their_layer.weight.grad.abs().max()
        assert (our_layer.weight.grad - their_layer.weight.grad).abs().max() < 1e-3 * scale
