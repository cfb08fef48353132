"""torchvision's networks and ours are the same ones."""

import pytest
import torch
from torchvision.models import segmentation

from parity import randomize
from vertebra.tasks.segmentation import deeplabv3, deeplabv3plus, fcn, load_weights

OURS = {"deeplabv3": deeplabv3, "fcn": fcn}
SIZE = (65, 97)


@pytest.mark.parametrize("aux", [True, False])
@pytest.mark.parametrize(
    "name",
    ["deeplabv3_resnet50", "fcn_resnet50", pytest.param("deeplabv3_resnet101", marks=pytest.mark.slow)],
)
def test_torchvisions_weights_give_its_logits(name, aux):
    torch.manual_seed(0)
    options = {"weights": None, "weights_backbone": None, "num_classes": 5}
    theirs = randomize(getattr(segmentation, name)(aux_loss=aux, **options))
    kind, backbone = name.split("_")
    ours = OURS[kind](backbone, 5, output_stride=8, aux=aux).eval()
    load_weights(ours, theirs.state_dict())
    images = torch.randn(1, 3, *SIZE)
    with torch.inference_mode():
        expected, found = theirs(images), ours.all_logits(images)
    assert found.main.shape == (1, 5, *SIZE)
    torch.testing.assert_close(found.main, expected["out"], atol=1e-4, rtol=1e-4)
    assert found.main.std() > 1e-2  # else any two networks would agree
    if aux:
        torch.testing.assert_close(found.aux, expected["aux"], atol=1e-4, rtol=1e-4)
    else:
        assert found.aux is None


def test_weights_of_a_missing_auxiliary_head_are_dropped():
    theirs = segmentation.fcn_resnet50(weights=None, weights_backbone=None, num_classes=3, aux_loss=True)
    load_weights(fcn("resnet50", 3), theirs.state_dict())
    with pytest.raises(ValueError, match="the state dict"):
        load_weights(deeplabv3("resnet50", 3), theirs.state_dict())


def test_own_weights_come_back(tmp_path):
    network = deeplabv3plus("resnet18", 3, aux=True)
    torch.save({"state_dict": {f"network.{key}": value for key, value in network.state_dict().items()}}, tmp_path / "a")
    other = deeplabv3plus("resnet18", 3, aux=True)
    load_weights(other, tmp_path / "a")
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), other.parameters(), strict=True))
