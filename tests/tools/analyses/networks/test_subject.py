"""Runs and backbones under examination: their mode, their statistics and their samples."""

from argparse import Namespace

import pytest
import torch
from torch import nn

from vertebra.tools.analyses.networks.subject import is_run, loss_of, open_subject, with_batch_statistics


def subject(target, seed=0, samples=4):
    return open_subject(Namespace(target=str(target), samples=samples, batch=2, seed=seed, split="val", size=18))


def test_norms_take_the_statistics_of_the_batch_and_the_network_keeps_its_own():
    found = subject("resnet20")
    before = {name: buffer.clone() for name, buffer in found.module.named_buffers()}
    copied = with_batch_statistics(found.module)
    seen = []
    copied.network.backbone.bn1.register_forward_hook(
        lambda module, inputs, output: seen.append(output.detach().clone())
    )
    loss_of(copied, found.batches[0])
    (output,) = seen
    assert output.mean(dim=(0, 2, 3)) == pytest.approx(torch.zeros(16), abs=1e-5)
    assert output.var(dim=(0, 2, 3), correction=0) == pytest.approx(torch.ones(16), abs=1e-2)
    assert not any(module.training for module in copied.modules() if not isinstance(module, nn.BatchNorm2d))
    assert all(torch.equal(before[name], buffer) for name, buffer in found.module.named_buffers())
    assert not any(module.training for module in found.module.modules())


def test_random_weights_follow_from_the_seed():
    found = subject("resnet20")
    weights = [found.untrained(seed).network.backbone.conv1.weight for seed in (0, 0, 1)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert torch.equal(weights[0], found.network.backbone.conv1.weight)


def test_samples_are_cut_into_batches():
    assert [len(batch.images) for batch in subject("resnet20", samples=5).batches] == [2, 2, 1]
    clips = subject("r3d_18", samples=2).batches[0].clips
    assert clips.shape == (2, 1, 3, 16, 18, 18)
    # the drawn texture moves
    assert torch.equal(clips[0, 0, :, 1].roll(-2, dims=-1), clips[0, 0, :, 0])


def test_a_run_without_weights_differs_from_itself(trained):
    folder, _ = trained("classification")
    found = subject(folder)
    assert found.is_trained
    assert "of the val split, seed 0" in found.samples
    fresh = found.untrained(0).state_dict()
    own = found.module.state_dict()
    assert fresh.keys() == own.keys()
    assert not torch.equal(fresh["network.backbone.conv1.weight"], own["network.backbone.conv1.weight"])


def test_names_and_paths_are_told_apart(tmp_path):
    assert is_run(str(tmp_path))
    assert is_run("runs/absent")
    assert is_run("best.ckpt")
    assert not is_run("resnet20")
    assert not is_run("timm:resnet18")
