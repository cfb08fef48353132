"""Combined samples are functions of their requests, in any process and at any time of a training."""

import shutil
from pathlib import Path

import albumentations as A
import numpy as np
import pytest
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader

from vertebra.tasks.detection import (
    CopyPaste,
    DetectionData,
    DetectionModule,
    LargeScaleJitter,
    MixUp,
    Mosaic,
    Split,
    faster_rcnn,
)
from vertebra.tasks.detection.combining.combination import Draw, check_epochs, combine
from vertebra.tasks.detection.dataset import collate
from vertebra.tasks.detection.transforms import Resize
from vertebra.tasks.loading.files.image_errors import UnreadableImage
from vertebra.tasks.loading.samplers import SampleRequest


def data(root, combine, masks=True, **options):
    splits = {name: Split(f"annotations/{name}.json", f"images/{name}") for name in ("train", "val")}
    options = {"resize": Resize([48, 64], 64), "batch_size": 3, "num_workers": 0} | options
    return DetectionData(str(root), **splits, masks=masks, combine=combine, **options)


def training_set(loaded):
    return loaded.dataset(loaded.records("train"), True, loaded.missing)


def every_step():
    return [Mosaic(p=0.5), LargeScaleJitter((0.4, 2.0), p=0.7), CopyPaste(p=0.8), MixUp(p=0.5)]


def assert_same(first, second):
    assert np.array_equal(first.images, second.images)
    for name in ("boxes", "labels", "ignored"):
        assert np.array_equal(getattr(first.targets, name), getattr(second.targets, name))
    assert np.array_equal(first.targets.masks.bits, second.targets.masks.bits)


def test_a_request_is_one_sample_in_any_process_and_order(instance_samples):
    dataset = training_set(data(instance_samples, every_step()))
    requests = [[SampleRequest(i, 7 * i, i, 3), SampleRequest(9 - i, i, i, 3)] for i in range(10)]
    alone = [collate([dataset[request] for request in batch]) for batch in requests]
    backwards = [collate([dataset[request] for request in batch]) for batch in requests[::-1]][::-1]
    shared = list(DataLoader(dataset, batch_sampler=requests, collate_fn=collate, num_workers=2))
    for one, two, three in zip(alone, backwards, shared, strict=True):
        assert_same(one, two)
        assert_same(one, three)
    other = dataset[requests[0][0]._replace(seed=99)].sample
    assert not np.array_equal(other.image.image, dataset[requests[0][0]].sample.image.image)


def test_squares_have_the_side_of_their_batch(instance_samples):
    drawn = []

    class Seen(Mosaic):
        def __call__(self, image, draw):
            drawn.append((draw.side, super().__call__(image, draw)))
            return drawn[-1][1]

    dataset = training_set(data(instance_samples, [Seen()], resize=Resize([48, 90], 64)))
    for seed in range(8):
        drawn.clear()
        images = [dataset[SampleRequest(i, i, seed)].sample.image for i in range(3)]
        assert {side for side, _ in drawn} in ({48}, {64})  # 64 is the longest
        assert all(image.image is square.image for image, (_, square) in zip(images, drawn, strict=True))  # not resized


def test_evaluation_sees_images_as_they_are(instance_samples):
    plain, combined = (data(instance_samples, steps) for steps in ([], every_step()))
    assert_same(*(next(iter(loaded.val_dataloader())) for loaded in (plain, combined)))


def test_each_image_is_augmented_by_itself(instance_samples):
    dataset = training_set(data(instance_samples, [Mosaic((0.3, 0.3))], augment=[A.HorizontalFlip(p=0.5)]))
    seeds = []
    augment, dataset.augment = dataset.augment, lambda image, seed: (seeds.append(seed), augment(image, seed))[1]
    dataset[SampleRequest(0, 5, 0)]
    assert len(set(seeds)) == 4
    assert seeds[0] == 5  # as without combinations


def sizes_of_epochs(loaded, trainer):
    """Return the sizes of images in every epoch; the loader ends with this call, and its processes with it."""
    loaded.trainer = trainer
    loader = loaded.train_dataloader()
    sizes = []
    for epoch in range(trainer.max_epochs):
        loader.batch_sampler.set_epoch(epoch)
        sizes.append({tuple(size) for batch in loader for size in batch.sizes.tolist()})
    return sizes


def test_it_is_off_in_the_last_epochs_for_persistent_processes_too(instance_samples, tmp_path):
    trainer = Trainer(accelerator="cpu", max_epochs=3, logger=False, default_root_dir=tmp_path)
    loaded = [data(instance_samples, [Mosaic(last_epochs_off=2)], num_workers=1, resize=Resize([64], 80))]
    assert sizes_of_epochs(loaded.pop(), trainer) == [{(64, 64)}, {(64, 80)}, {(64, 80)}]


@pytest.mark.parametrize(("left", "calls"), [(None, 1), (9, 1), (2, 1), (1, 0), (0, 0)])
def test_the_number_of_epochs_that_follow_decides(left, calls, picture):
    seen = []

    class Seen(LargeScaleJitter):
        def __call__(self, image, draw):
            seen.append(1)
            return image

    combine(picture(), [Seen(last_epochs_off=2)], Draw(np.random.default_rng(0), 64, picture), left)
    assert len(seen) == calls


def test_further_images_have_passed_what_draws_none(picture):
    calls = []

    class Before(LargeScaleJitter):
        def __call__(self, image, draw):
            calls.append("before")
            return image

    class Behind(Before):
        def __call__(self, image, draw):
            calls.append("behind")
            return image

    class Drawing(MixUp):
        def __call__(self, image, draw):
            calls.append(type(self).__name__)
            draw.another()
            return image

    class Again(Drawing):
        pass

    steps = [Before(), Drawing(), Again(), Behind()]
    combine(picture(), steps, Draw(np.random.default_rng(0), 64, picture), None)
    assert calls == ["before", "Drawing", "before", "Again", "before", "behind"]


def test_a_probability_is_that(picture):
    image = picture()
    rngs = [np.random.default_rng(seed) for seed in range(300)]
    changed = [
        combine(image, [LargeScaleJitter(p=0.3)], Draw(rng, 64, picture), None).image is not image.image for rng in rngs
    ]
    assert 60 < sum(changed) < 120


def test_one_image_is_combined_with_itself(instance_samples):
    loaded = data(instance_samples, every_step())
    records = loaded.records("train").only(np.array([0]))
    dataset = loaded.dataset(records, True, "error")
    for seed in range(5):
        assert dataset[SampleRequest(0, seed, seed)].sample.image.image.any()


@pytest.fixture
def broken(instance_samples, tmp_path):
    """Function that returns a training set of which only the first image can be read."""
    copied = tmp_path / "copy"
    shutil.copytree(instance_samples, copied)

    def make(missing):
        dataset = training_set(data(copied, [Mosaic()], missing=missing))
        for file in dataset.annotations.files[1:]:
            Path(file).write_bytes(b"")
        return dataset

    return make


def test_a_sample_names_all_files_that_it_is_combined_of(instance_samples):
    batch = collate([training_set(data(instance_samples, [Mosaic(), MixUp()]))[SampleRequest(0, 3, 0)]])
    module = DetectionModule(faster_rcnn("resnet20", 5, channels=8), ["a", "b", "c", "d", "e"])
    files = module.sample_names(batch)[0].split(" + ")
    assert files[0] == batch.sources[0].file
    assert len(files) == 5
    assert all(Path(file).is_file() for file in files)


def test_another_image_replaces_one_that_cannot_be_read(broken):
    batch = collate([broken("skip")[SampleRequest(0, 0, 0)]])
    assert len(batch.images) == 1
    assert batch.skipped
    assert all("is empty" in message for message in batch.skipped)


def test_one_that_cannot_be_read_is_named(broken):
    with pytest.raises(UnreadableImage, match=r"\.(png|jpg).*leave such files out with data\.missing=skip"):
        broken("error")[SampleRequest(0, 0, 0)]


def test_copy_paste_needs_masks(instance_samples):
    with pytest.raises(ValueError, match=r"^data\.combine: CopyPaste needs the masks of objects.*--data\.masks true"):
        data(instance_samples, [CopyPaste()], masks=False)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Mosaic(p=1.5), "p of Mosaic is 1.5"),
        (lambda: MixUp(last_epochs_off=-1), "last_epochs_off of MixUp is -1"),
        (lambda: Mosaic(scale=(2.0, 0.5)), r"scale of Mosaic is \(2.0, 0.5\)"),
        (lambda: MixUp(scale=(0.0, 0.5)), r"scale of MixUp is \(0.0, 0.5\)"),
        (lambda: LargeScaleJitter(scale=(-1.0, 0.5)), "scale of LargeScaleJitter"),
        (lambda: check_epochs([Mosaic(last_epochs_off=2)], -1), "max_epochs is -1, so no epoch is among the last 2"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_combination_that_no_epoch_has_is_warned_of(recwarn):
    check_epochs([Mosaic(last_epochs_off=15), MixUp()], 15)
    (warning,) = recwarn
    assert "Mosaic is off in the last 15 epochs, and the training has 15, so it is never used" in str(warning.message)
    check_epochs([Mosaic(last_epochs_off=15)], 16)
    check_epochs([Mosaic()], -1)
    assert len(recwarn) == 1


def test_the_costliest_batch_has_the_objects_of_all_images(instance_samples):
    plain, combined = (data(instance_samples, steps).costliest_batch(2).targets for steps in ([], [Mosaic(), MixUp()]))
    counts = [(targets.labels > 0).sum(dim=1).max() for targets in (plain, combined)]
    assert counts[1] == 5 * counts[0]
    assert combined.masks.windows.shape[:2] == combined.labels.shape
