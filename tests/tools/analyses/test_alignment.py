import pytest
import torch
from torch import nn

from vertebra.backbones import BackboneOptions, create_backbone
from vertebra.backbones.vit import ViT
from vertebra.tools.analyses.alignment import measure_alignment, stage_alignment
from vertebra.tools.analyses.measures.jacobians import top_singular
from vertebra.tools.analyses.networks.encoder_halves import in_halves
from vertebra.tools.analyses.networks.residual_branches import branch_inputs, residual_branches

SIZE = 400


def orthonormal(columns, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(SIZE, columns, generator=generator))[0]


def triplets(left, right):
    """Singular triplets of a linear branch with three singular values, at two samples."""
    matrix = left @ torch.diag(torch.tensor([3, 2.5, 2])) @ right.mT
    return top_singular(lambda x: x @ matrix.mT, torch.zeros(2, SIZE), k=3)


def test_branches_that_share_their_singular_vectors_are_aligned():
    shared = orthonormal(3, seed=0)
    found = stage_alignment("layer1", ["a", "b"], [triplets(shared, shared), triplets(shared, shared)])
    assert found.overlap == pytest.approx(1, abs=1e-3)
    assert found.top == pytest.approx(1, abs=1e-3)


def test_random_branches_are_aligned_by_chance():
    branches = [triplets(orthonormal(3, 2 * i), orthonormal(3, 2 * i + 1)) for i in range(6)]
    found = stage_alignment("layer1", list("abcdef"), branches)
    assert found.chance == 3 / SIZE
    assert found.overlap.mean() == pytest.approx(found.chance, rel=0.25)
    assert found.top.mean() == pytest.approx((2 / (torch.pi * SIZE)) ** 0.5, rel=0.25)  # 0.8 / sqrt(n)


def test_a_chain_overlaps_forward_only():
    a, b, c = (orthonormal(3, seed) for seed in range(3))  # the first block reads a and writes b, the second b and c
    found = stage_alignment("layer1", ["first", "second"], [triplets(b, a), triplets(c, b)])
    assert found.forward == pytest.approx(1, abs=1e-3)
    assert max(found.within, found.backward) < 0.05


@pytest.mark.parametrize(
    "name", ["resnet20", "resnetv2_110", "plain20", "seresnet18", "timm:resnet18", "vit_tiny_patch16_224"]
)
def test_a_branch_is_what_its_block_adds_to_the_shortcut(name):
    torch.manual_seed(0)
    network = in_halves(create_backbone(name).eval())
    branches = residual_branches(network)
    inputs = branch_inputs(network, branches, torch.randn(2, 3, 32, 32))
    branch, x = branches[1], inputs[1]  # the second block of the first stage keeps the shape
    before = x.clone()
    with torch.no_grad():
        value, output = branch.with_output(x)
    assert torch.equal(x, before)
    total = value + x if branch.is_residual else value
    torch.testing.assert_close(output, total if name.startswith(("resnetv2", "vit")) else total.relu())
    torch.testing.assert_close(branch(x), value)


def test_the_jacobians_are_those_of_the_branches():
    torch.manual_seed(0)
    network = create_backbone("resnet20").eval()
    images = torch.randn(2, 3, 16, 16)
    stages = measure_alignment(network, images, k=2)
    assert [one.stage for one in stages] == ["layer1", "layer2", "layer3"]
    # the first block of a stage that changes the shape is left out
    assert [one.names for one in stages[1:]] == [[f"layer{i}.1", f"layer{i}.2"] for i in (2, 3)]
    branches = residual_branches(network)
    inputs = branch_inputs(network, branches, images)
    branch, x = branches[-1], inputs[-1][1:]
    matrix = torch.autograd.functional.jacobian(branch, x).reshape(x.numel(), x.numel())
    expected = torch.linalg.svdvals(matrix)[:2]
    torch.testing.assert_close(torch.from_numpy(stages[2].values[1, 1]).float(), expected, rtol=0.02, atol=0)


def test_the_branches_of_a_transformer_are_attention_and_mlp():
    torch.manual_seed(0)
    network = in_halves(ViT(BackboneOptions(), width=8, depth=2, num_heads=2, patch=8, size=16).eval())
    images = torch.randn(1, 3, 16, 16)
    (stage,) = measure_alignment(network, images, k=2)
    assert stage.names == ["blocks.0.attn", "blocks.0.mlp", "blocks.1.attn", "blocks.1.mlp"]
    assert stage.size == 5 * 8
    x = network.patch_embed(images)
    for half, values in zip((one for block in network.blocks for one in block), stage.values, strict=True):
        matrix = torch.autograd.functional.jacobian(lambda x, half=half: half.branch(half.norm(x)), x).reshape(40, 40)
        expected = torch.linalg.svdvals(matrix)[:2]
        torch.testing.assert_close(torch.from_numpy(values[0]).float(), expected, rtol=0.02, atol=1e-4)
        x = half(x)


def test_a_network_without_blocks_that_keep_the_shape():
    with pytest.raises(ValueError, match="no stage with two blocks"):
        measure_alignment(create_backbone("timm:test_resnet").eval(), torch.randn(1, 3, 32, 32), k=1)


def test_a_network_without_residual_blocks():
    with pytest.raises(ValueError, match="no block whose residual branch is known"):
        residual_branches(nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)))
