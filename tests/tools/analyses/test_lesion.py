"""Lesions: deleted blocks, swapped blocks and what is put back, on networks of known answer."""

from argparse import Namespace

import numpy as np
import pytest
import torch
from torch import nn

from vertebra.backbones import create_backbone
from vertebra.tools.analyses.lesion import spread, study
from vertebra.tools.analyses.networks.blocks import blocks_of, hooked
from vertebra.tools.analyses.networks.surgery import deletion, keeps_shape, reordered, swapped
from vertebra.tools.main import main


def network(name, identity=False):
    torch.manual_seed(0)
    body = create_backbone(name).eval()
    for block in blocks_of(body):
        for module in block.module.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
        if identity:
            nn.init.zeros_(block.branch_end.weight)
            nn.init.zeros_(block.branch_end.bias)
    return body


def output(body):
    with torch.no_grad():
        return body(torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)))["C4"]


def test_deleting_identity_blocks_changes_nothing_and_deleting_others_does():
    for identity in (True, False):
        body = network("resnet20", identity)
        whole = output(body)
        for block in blocks_of(body):
            with hooked(deletion([block])):
                assert torch.equal(output(body), whole) == identity
        assert torch.equal(output(body), whole)


def test_a_network_without_all_branches_is_its_shortcuts():
    body = network("resnet20")
    blocks = blocks_of(body)
    with hooked(deletion(blocks)):
        found = output(body)
    x = body.stem(torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)))
    # option A subsamples and pads with zeros, and the stem's output is not negative
    expected = torch.cat([torch.zeros(2, 24, 4, 4), x[:, :, ::4, ::4], torch.zeros(2, 24, 4, 4)], dim=1)
    torch.testing.assert_close(found, expected.detach())


def test_a_plain_block_is_replaced_by_the_identity():
    body = network("plain20")
    blocks = blocks_of(body)
    kept = keeps_shape(blocks, lambda: output(body))
    assert [shape is None for shape in kept] == [False] * 3 + [True, False, False] * 2
    assert kept[0] == (16, 16, 16)
    assert kept[4] == (32, 8, 8)
    x = torch.randn(1, 16, 4, 4)
    with hooked(deletion(blocks[:1])):
        assert torch.equal(blocks[0].module(x), x)


def test_swaps_stay_among_blocks_of_a_kind_and_are_undone():
    body = network("resnet20")
    blocks, whole = blocks_of(body), output(body)
    with reordered(body, blocks, [0, 2, 1, *range(3, 9)]):
        assert body.layer1[1] is blocks[2].module
        assert not torch.equal(output(body), whole)
    assert torch.equal(output(body), whole)
    rng = np.random.default_rng(0)
    kinds = ["a", None, "b", "a", "b", "c"]
    once = {tuple(swapped(kinds, 1, rng)) for _ in range(50)}
    assert once == {(3, 1, 2, 0, 4, 5), (0, 1, 4, 3, 2, 5)}
    assert {tuple(swapped(kinds, 2, rng)) for _ in range(50)} == {(0, 1, 2, 3, 4, 5), (3, 1, 4, 0, 2, 5)}
    with pytest.raises(ValueError, match="nothing can be swapped"):
        swapped(["a", "b"], 1, rng)


def test_a_study_counts_what_is_deleted_and_leaves_the_network_as_it_was():
    body = network("resnet20")
    blocks, whole = blocks_of(body), output(body)
    kept = keeps_shape(blocks, lambda: output(body))
    lesions = study(body, blocks, kept, lambda: float((output(body) - whole).norm()), Namespace(trials=2, seed=0))
    assert torch.equal(output(body), whole)
    by_kind = {
        kind: [one for one in lesions if one.kind == kind] for kind in ("none", "delete one", "delete n", "swap n")
    }
    assert [len(found) for found in by_kind.values()] == [1, 9, 2 * 8, 2 * 8]
    assert lesions[0].error == 0
    assert [one.blocks for one in by_kind["delete one"]] == [block.name for block in blocks]
    assert all(len(one.blocks.split()) == one.number for one in by_kind["delete n"])
    assert by_kind["delete n"][-1].number == 9
    assert all(one.error > 0 for one in lesions[1:] if one.blocks)
    assert all(one.correlation < 1 for one in by_kind["swap n"] if one.blocks)
    # which blocks depends on the seed alone
    again, other = (study(body, blocks, kept, lambda: 0.0, Namespace(trials=2, seed=seed)) for seed in (0, 1))
    assert [one.blocks for one in again] == [one.blocks for one in lesions] != [one.blocks for one in other]


def test_numbers_are_spread_evenly():
    assert spread(3) == [1, 2, 3]
    assert spread(27) == [1, 5, 8, 12, 16, 20, 23, 27]


@pytest.mark.parametrize("name", ["momentum_resnet20", "odenet20"])
def test_a_deleted_step_changes_nothing(name):
    body = network(name)
    steps = [block for block in blocks_of(body) if block.is_increment]
    assert next(block.name for block in steps) == "layer1.1"
    x = torch.randn(2, 16, 8, 8)
    with torch.no_grad():
        whole, expected = body.layer1(x), body.layer1[0](x)
        with hooked(deletion(steps)):
            found = body.layer1(x)
    assert not torch.allclose(whole, expected)
    # momentum: x + v with v = 0; the first block is left as it is
    torch.testing.assert_close(found, expected)


def test_without_a_step_the_velocity_goes_on():
    body = network("momentum_resnet44")
    *_, last = (block for block in blocks_of(body) if block.stage == "layer1")
    for block in body.layer1[1:6]:
        nn.init.constant_(block.bn2.bias, -100)  # relu(x + F(x)) is 0, f(x) is -x, and x becomes negative
    position, velocity = 1.0, 0.0
    for _ in range(5):
        velocity = 0.9 * velocity - 0.1 * position
        position += velocity
    assert position < 0
    images = torch.randn(2, 16, 8, 8)
    with torch.no_grad(), hooked(deletion([last])):
        torch.testing.assert_close(body.layer1(images), body.layer1[0](images) * (position + 0.9 * velocity))


@pytest.mark.parametrize("name", ["plain20", "resnet20", "momentum_resnet20"])
def test_the_command_on_a_backbone(name, tmp_path, capsys):
    words = ["--samples", 4, "--batch", 4, "--size", 18, "--trials", 1, "--paths", 1, "--output", tmp_path]
    assert main(["analyze", "lesion", name, *map(str, words)]) == 0
    printed = capsys.readouterr().out
    assert "without one of" in printed
    assert ("2^9 paths (binomial); 95 % of them have 2 to 7 branches" in printed) == (name == "resnet20")
    assert (tmp_path / "lesion_paths.csv").exists() == (name == "resnet20")
    assert (tmp_path / "lesion.png").stat().st_size > 10_000


def test_the_command_on_a_detector(trained, tmp_path):
    folder, _ = trained("detection")
    words = ["--samples", 2, "--batch", 2, "--trials", 1, "--paths", 1, "--output", tmp_path]
    assert main(["analyze", "lesion", str(folder), *map(str, words)]) == 0
    assert "1 - map" in (tmp_path / "lesion.html").read_text()
