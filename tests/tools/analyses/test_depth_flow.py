import numpy as np
import pytest
import torch

from vertebra.backbones import BackboneOptions, create_backbone
from vertebra.backbones.blocks import BasicBlock
from vertebra.backbones.blocks_preact import PreActBasicBlock
from vertebra.backbones.resnet import ResNet
from vertebra.backbones.stems import small_stem
from vertebra.tasks.classification import image_classifier
from vertebra.tools.analyses.depth_flow import measure_steps, order_of, refine


def images(count=4):
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_blocks_that_are_their_shortcuts_have_no_size_and_refining_them_changes_nothing():
    network = image_classifier(create_backbone("resnet20", zero_init=True), 3).eval()
    assert [step.size for step in measure_steps(network, images())] == [0] * 7
    found = refine(network, images(), points=1)
    assert list(found.stages) == ["layer1", "layer2", "layer3"]
    assert found.output == pytest.approx(0, abs=1e-6)
    assert np.concatenate(list(found.stages.values())) == pytest.approx(0, abs=1e-5)
    assert found.agreement.tolist() == [1] * 4


@pytest.mark.parametrize("block", [BasicBlock, PreActBasicBlock])
def test_a_network_of_small_branches_is_close_to_its_flow_and_converges_at_first_order(block):
    torch.manual_seed(0)
    network = ResNet(block, (3, 3), BackboneOptions(), stem=small_stem, widths=(8, 8), strides=(1, 1)).eval()
    for module in network.modules():
        if isinstance(module, (BasicBlock, PreActBasicBlock)):
            module.last_layer.weight.data *= 0.2
    found = refine(network, images(), points=2)
    for distances in found.stages.values():
        assert distances[0] < 0.2
        assert (np.diff(distances) < 0).all()
        assert order_of(distances) == pytest.approx(1, abs=0.25)
    assert found.output[0] == 0
    assert (found.output[1:] > 0).all()
    assert np.isnan(found.agreement).all()  # a backbone predicts no class


def test_sizes_and_directions_are_those_of_the_blocks():
    torch.manual_seed(0)
    network = create_backbone("resnet20").eval()
    first, second = measure_steps(network, images())[:2]
    with torch.no_grad():
        x = network.stem(images())
        block = network.layer1[0]
        branch = block.bn2(block.conv2(torch.relu(block.bn1(block.conv1(x)))))
        moves = [block(x) - x, network.layer1[1](block(x)) - block(x)]
    assert first.size == pytest.approx(float((branch.flatten(1).norm(dim=1) / x.flatten(1).norm(dim=1)).mean()))
    assert np.isnan(first.cosine)
    assert second.cosine == pytest.approx(
        float(torch.cosine_similarity(*(m.flatten(1) for m in moves)).mean()), abs=1e-5
    )


def test_order_of_convergence():
    assert order_of(np.array([0.8, 0.4, 0.2, 0.1])) == pytest.approx(1)
    assert order_of(np.array([0.8, 0.4, 0.2, 0.05])) == pytest.approx(2)
    assert np.isnan(order_of(np.zeros(4)))
