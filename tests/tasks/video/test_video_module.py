"""Training and measuring video classifiers."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer, seed_everything
from torch import nn

from vertebra.backbones import create_backbone
from vertebra.tasks.training.losses import CrossEntropy
from vertebra.tasks.training.views import Views
from vertebra.tasks.video import VideoData, VideoModule, frame_classifier, video_classifier
from vertebra.tasks.video.sampling import Dense
from vertebra.tasks.video.transforms import Resize


def build(root: Path) -> tuple[VideoModule, VideoData]:
    seed_everything(0)
    data = VideoData(
        str(root), sampling=Dense(4, 2), resize=Resize((24, 24), crops=3), val_clips=2, batch_size=2, num_workers=0
    )
    optimizer = partial(torch.optim.SGD, lr=0.01)  # unlike the default, it can be sent to another process
    return VideoModule(frame_classifier("resnet18", data.num_classes), data.class_names, optimizer=optimizer), data


@pytest.mark.slow  # as detectors do by default
def test_two_processes_measure_the_same_as_one(video_samples: Path, make_trainer: Callable[[int], Trainer]) -> None:
    module, data = build(video_samples)
    assert len(data.records("val")) == 9  # cannot be shared out evenly
    (alone,) = make_trainer(1).validate(module, data, verbose=False)
    (together,) = make_trainer(2).validate(*build(video_samples), verbose=False)
    assert together == pytest.approx(alone, abs=1e-6)
    for name in ("val/top1", "val/top5"):
        assert together[name] == alone[name]


def test_scores_of_a_video_are_the_mean_over_its_views(video_samples):
    module, data = build(video_samples)
    batch = next(iter(data.val_dataloader()))
    assert batch.clips.shape == (2, 6, 3, 4, 24, 24)
    assert batch.times.shape == (2, 6, 4)
    module.eval()
    with torch.no_grad():
        module.validation_step(batch, 0)
        clips = module._clips(batch)
        single = torch.stack([module.network(clip[None])[0].softmax(0) for clip in clips]).view(2, 6, -1).mean(1)
    results = module.metric.compute()
    scores, labels = single.double().sort(dim=1, descending=True)
    torch.testing.assert_close(torch.from_numpy(results.images.top_scores), scores[:, :5], atol=1e-5, rtol=1e-4)
    assert results.images.top_labels.tolist() == labels[:, :5].tolist()


def test_flipped_views_of_clips_are_averaged(video_samples):
    module, data = build(video_samples)
    module.eval()
    batch = next(iter(data.val_dataloader()))
    with torch.no_grad():
        alone = module._probs(batch)
        mirrored = module._probs(batch._replace(clips=batch.clips.flip(-1)))
        module.views = Views(flip=True)
        both = module._probs(batch)
    assert not torch.allclose(alone, mirrored, atol=1e-4)
    torch.testing.assert_close(both, (alone + mirrored) / 2, atol=1e-5, rtol=1e-4)


def test_groups_of_videos_are_in_the_batch(video_samples, make_trainer):
    module, data = build(video_samples)
    videos = data.records("val")
    cameras = [f"camera {i % 3}" for i in range(len(videos))]
    data._records["val"] = replace(videos, groups=np.array(cameras))
    make_trainer(1).validate(module, data.val_dataloader(), verbose=False)
    table = module.evaluated()
    assert table.names.tolist() == videos.names.tolist()
    assert table.groups.tolist() == cameras


def test_clips_are_normalized_frame_by_frame(video_samples):
    module, data = build(video_samples)
    batch = next(iter(data.val_dataloader()))
    clips = module._clips(batch)
    mean, std = (torch.tensor(x)[None, :, None, None, None] for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    expected = (batch.clips.flatten(0, 1).float() / 255 - mean) / std
    torch.testing.assert_close(clips, expected, atol=1e-5, rtol=1e-4)
    assert clips.is_contiguous(memory_format=torch.channels_last_3d)


def test_order_matters_to_the_recurrent_head_alone():
    torch.manual_seed(0)
    clips = torch.randn(2, 3, 5, 32, 32)
    for hidden, ordered in ((0, False), (8, True)):
        network = frame_classifier("resnet18", 4, hidden=hidden).eval()
        nn.init.normal_(network.head.fc.weight)
        with torch.inference_mode():
            same = torch.allclose(network(clips), network(clips.flip(2)), atol=1e-5)
        assert same is not ordered
        loss = network.train()(clips).sum()
        loss.backward()
        assert all(parameter.grad is not None for parameter in network.parameters())


def test_a_2d_checkpoint_inflates_into_a_3d_network(tmp_path):
    torch.manual_seed(0)
    flat = create_backbone("resnet50")
    torch.save(flat.state_dict(), tmp_path / "flat.pth")
    network = video_classifier("slow_r50", 3, inflate_from=str(tmp_path / "flat.pth"))
    torch.testing.assert_close(network.backbone.layer1[0].conv1.weight[:, :, 0], flat.layer1[0].conv1.weight)
    deep = network.backbone.layer4[0].conv1.weight
    torch.testing.assert_close(deep.sum(dim=2), flat.layer4[0].conv1.weight)


def test_weights_of_any_dimension_become_channels_last():
    mixed = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Conv3d(2, 4, 3), nn.Conv2d(2, 4, 1), nn.Linear(2, 2))
    module = VideoModule(mixed, ["a"])
    assert mixed[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert mixed[1].weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert mixed[2].weight.stride() == torch.empty(4, 2, 1, 1).to(memory_format=torch.channels_last).stride()
    assert VideoModule(nn.Conv3d(2, 4, 3), ["a"], channels_last=False).network.weight.is_contiguous()
    with pytest.raises(ValueError, match="label_smoothing is 1"):
        VideoModule(mixed, ["a"], loss=CrossEntropy(label_smoothing=1))
    assert module.metric.class_names == ("a",)


def test_eight_videos_are_overfitted(video_samples):
    module, data = build(video_samples)
    module.network = video_classifier("tsm:resnet18", data.num_classes, drop_rate=0.0)
    batch = next(iter(data.train_dataloader()))
    optimizer = torch.optim.SGD(module.network.parameters(), lr=0.05, momentum=0.9)
    clips = module._clips(batch)
    losses = []
    for _ in range(12):
        loss = nn.functional.cross_entropy(module.network(clips), batch.labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert losses[-1] < 0.5 * losses[0]
