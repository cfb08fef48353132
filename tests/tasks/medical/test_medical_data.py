"""From lists to batches."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch.cli import LightningArgumentParser
from monai.transforms import RandGaussianNoise

from vertebra.tasks.loading.data import TaskData
from vertebra.tasks.loading.files.faults import UnreadableFile
from vertebra.tasks.loading.samplers import SampleRequest
from vertebra.tasks.medical.balance import class_counts
from vertebra.tasks.medical.cache import MIB, Cache
from vertebra.tasks.medical.data import MedicalData
from vertebra.tasks.medical.formats.study_options import Columns
from vertebra.tasks.medical.geometry import Resample
from vertebra.tasks.medical.intensity import Range, Window


@pytest.fixture
def volumes(tmp_path, write_volume):
    """Ten volumes of five patients, two lists of them, and a series."""
    rng = np.random.default_rng(0)
    for number in range(10):
        write_volume(tmp_path / f"{number}.nii.gz", rng.normal(0, 300, (7, 6, 5)).astype(np.float32))
    rows = [f"{number}.nii.gz,{'sick' if number % 3 else 'well'},p{number // 2}" for number in range(10)]
    (tmp_path / "train.csv").write_text("\n".join(["path,label,patient", *rows[:6]]))
    (tmp_path / "val.csv").write_text("\n".join(["path,label,patient", *rows[6:]]))
    return tmp_path


def data_of(root, **options):
    options = {"columns": Columns(patient="patient"), "resample": Resample((4, 5, 6)), "num_workers": 0, **options}
    return MedicalData(str(root), **{"train": "train.csv", "val": "val.csv", "batch_size": 3, **options})


def test_batches_of_volumes(volumes):
    data = data_of(volumes, intensity=Window("lung"))
    assert data.class_names == ("sick", "well")
    assert class_counts(data.records("train")).tolist() == [4, 2]
    batches = list(data.train_dataloader())
    assert [tuple(batch.images.shape) for batch in batches] == [(3, 1, 4, 5, 6)] * 2
    assert sorted(torch.cat([batch.indices for batch in batches]).tolist()) == list(range(6))
    (first, second) = data.val_dataloader()
    assert first.images.dtype == torch.float32
    assert -1 <= first.images.min() < first.images.max() <= 1
    assert first.labels.tolist() == [1, 0, 0]
    assert first.counts == [1, 1, 1]
    assert second.names == [f"{volumes}/9.nii.gz"]
    assert second.indices.tolist() == [3]
    assert data.records("val").patients.tolist() == ["p3", "p3", "p4", "p4"]


def test_studies_of_several_images_are_padded(volumes):
    rows = ["0.nii.gz,a,1", "1.nii.gz,b,2", "2.nii.gz,a,1", "3.nii.gz,a,1"]
    (volumes / "train.csv").write_text("\n".join(["path,label,visit", *rows]))
    (volumes / "val.csv").write_text("path,label,visit\n4.nii.gz,a,3\n5.nii.gz,b,4\n")
    data = data_of(volumes, columns=Columns(study="visit"))
    (batch,) = data.train_dataloader()
    assert tuple(batch.images.shape) == (2, 3, 1, 4, 5, 6)
    lone = batch.names.index("2")
    assert batch.counts[lone] == 1
    assert batch.counts[1 - lone] == 3
    assert batch.images[lone, 0].any()
    assert not batch.images[lone, 1:].any()
    assert all(image.any() for image in batch.images[1 - lone])
    (batch,) = data.val_dataloader()
    assert tuple(batch.images.shape) == (2, 1, 1, 4, 5, 6)


def test_one_seed_gives_one_sample_in_any_worker(volumes):
    alone = data_of(volumes, batch_size=6)
    shared = data_of(volumes, batch_size=6, num_workers=2, cache_mib=0)
    one, other = (next(iter(data.train_dataloader())) for data in (alone, shared))
    assert one.names == other.names
    torch.testing.assert_close(one.images, other.images, rtol=0, atol=0)
    dataset = alone.dataset(alone.records("train"), True, "error")
    seen = [dataset[SampleRequest(0, seed, 0)].sample.images for seed in (1, 2, 1)]
    np.testing.assert_array_equal(seen[0], seen[2])
    assert not np.array_equal(seen[0], seen[1])
    plain = dataset.read(0, None).images
    np.testing.assert_array_equal(plain, dataset.read(0, None).images)  # chance has not written into what is kept


def test_images_of_one_study_are_augmented_each_for_itself(volumes):
    shutil.copy(volumes / "0.nii.gz", volumes / "twin.nii.gz")
    (volumes / "train.csv").write_text("path,label,visit\n0.nii.gz,a,1\ntwin.nii.gz,a,1\n1.nii.gz,b,2\n")
    data = data_of(volumes, columns=Columns(study="visit"), augment=[RandGaussianNoise(1.0)], leak="checked")
    images = data.dataset(data.divided("train"), True, "error")[SampleRequest(0, 5, 0)].sample.images
    assert images.shape == (2, 1, 4, 5, 6)
    assert not np.array_equal(images[0], images[1])


def test_the_cache_is_bounded(volumes):
    asked = []
    sample = np.zeros((1, 4, 5, 6), np.float32)

    def make(number):
        asked.append(number)
        return sample + number

    cache = Cache(3.5 * sample.nbytes / MIB)
    for _ in range(3):
        for number in range(6):
            assert cache.get(number, make)[0, 0, 0, 0] == number
    assert asked == [0, 1, 2, 3, 4, 5, 3, 4, 5, 3, 4, 5]
    assert cache.used == 3 * sample.nbytes
    dataset = data_of(volumes, cache_mib=2.5 * sample.nbytes / MIB).dataset(
        data_of(volumes).records("train"), False, "error"
    )
    for _ in range(2):
        for index in range(6):
            dataset[index]
    assert dataset.cache.used == 2 * sample.nbytes
    shutil.rmtree(volumes)
    assert dataset[1].sample is not None
    with pytest.raises(UnreadableFile):
        dataset[2]
    with pytest.raises(ValueError, match="cache_mib is -1"):
        Cache(-1)


def test_each_loader_process_has_a_share_of_the_cache(monkeypatch):
    monkeypatch.setattr("vertebra.tasks.medical.cache.get_worker_info", lambda: type("Info", (), {"num_workers": 4}))
    cache = Cache(8 * 400 / MIB)
    for number in range(8):
        cache.get(number, lambda _: np.zeros(100, np.float32))
    assert cache.used == 2 * 400


def test_rare_classes_are_drawn_as_often(volumes):
    data = data_of(volumes, balance=1.0)
    weights = np.array(data.weights(data.records("train")))
    labels = data.records("train").labels
    assert weights[labels == 0].sum() == pytest.approx(weights[labels == 1].sum())
    assert data_of(volumes).weights(data.records("train")) is None


def test_a_shared_patient_is_refused_or_left_out(volumes):
    text = (volumes / "train.csv").read_text()
    (volumes / "train.csv").write_text(text.replace("5.nii.gz,sick,p2", "5.nii.gz,sick,p4"))
    for leak in ("error", "checked"):
        with pytest.raises(
            ValueError,
            match=r"train\.csv: line 7: .*5\.nii\.gz is of patient 'p4', who is also in .*line 4 of .*val\.csv",
        ):
            data_of(volumes, leak=leak).train_dataloader()
    data = data_of(volumes, leak="drop")
    with pytest.warns(UserWarning, match=r"train\.csv: left out 1 x leak"):
        assert data.records("train").names.tolist() == [f"{volumes}/{number}.nii.gz" for number in range(5)]
    assert len(data.records("val")) == 4


def test_an_image_of_both_splits_is_refused_or_left_out(volumes):
    shutil.copy(volumes / "8.nii.gz", volumes / "4.nii.gz")
    with pytest.raises(ValueError, match=r"line 6: .*4\.nii\.gz has the same pixels as .*8\.nii\.gz \(line 4 of .*val"):
        data_of(volumes).records("train")
    with pytest.warns(UserWarning, match="left out 1 x leak"):
        assert len(data_of(volumes, leak="drop").records("train")) == 5
    assert len(data_of(volumes, leak="checked").records("train")) == 6


def test_a_study_that_leaks_twice_is_counted_once(volumes):
    shutil.copy(volumes / "8.nii.gz", volumes / "4.nii.gz")
    for name in ("train.csv", "val.csv"):
        (volumes / name).write_text((volumes / name).read_text().replace("p4", "p2"))
    with pytest.warns(UserWarning, match="left out 2 x leak"):  # both of p2, of which one has the pixels, too
        assert len(data_of(volumes, leak="drop").records("train")) == 4


@pytest.mark.filterwarnings("ignore:.*no study is of class")
def test_validation_gives_way_to_the_test_split(volumes):
    (volumes / "test.csv").write_text("path,label,patient\n9.nii.gz,well,p4\n")
    data = data_of(volumes, test="test.csv", leak="drop")
    with pytest.warns(UserWarning, match=r"val\.csv: left out 2 x leak"):
        assert data.records("val").patients.tolist() == ["p3", "p3"]
    assert len(data.records("train")) == 6
    assert len(data.records("test")) == 1
    with pytest.raises(ValueError, match=r"data\.test is not given"):
        data_of(volumes).records("test")


@pytest.mark.filterwarnings("ignore:.*no study is of class")
def test_folds_and_parts_of_the_training_split(volumes):
    for options in ({"val_fraction": 0.34}, {"folds": 3, "fold": 1}):
        data = data_of(volumes, **options)
        sides = [set(data.records(split).patients.tolist()) for split in ("train", "val")]
        assert [len(side) for side in sides] == [2, 1]
        assert not sides[0] & sides[1]


def test_an_absent_class_is_named(volumes):
    (volumes / "val.csv").write_text("path,label,patient\n7.nii.gz,sick,p3\n")
    with pytest.warns(UserWarning, match=r"val\.csv \(val\): no study is of class 'well'.*undefined \(NaN\)"):
        assert len(data_of(volumes).records("val")) == 1


def test_a_class_that_training_lacks_is_kept_with_a_warning(volumes):
    text = (volumes / "train.csv").read_text()
    (volumes / "train.csv").write_text(text.replace("well", "sick"))
    names = {"class_names": ["sick", "well"]}
    for splits in (("train", "val"), ("val", "train")):
        data = data_of(volumes, **names)
        with pytest.warns(UserWarning, match=r"val\.csv \(val\): kept 1 x class that training lacks"):
            assert [len(data.records(split)) > 0 for split in splits] == [True, True]
    with pytest.warns(UserWarning, match="no study is of class 'well'"):
        assert len(data_of(volumes, val_fraction=0.3, **names).records("train"))  # the part has none either


def test_what_cannot_be_read_is_an_error_or_left_out(volumes, write_volume):
    broken = np.ones((7, 6, 5), np.float32)
    broken[1, 2, 3] = np.nan
    write_volume(volumes / "6.nii.gz", broken)
    with pytest.raises(
        UnreadableFile, match=r"6\.nii\.gz: 1 of 210 pixels are NaN.*line 2 of .*val\.csv.*data\.missing=skip"
    ):
        next(iter(data_of(volumes).val_dataloader()))
    (volumes / "1.nii.gz").unlink()
    with pytest.raises(ValueError, match=r"train\.csv: line 3: .*1\.nii\.gz does not exist.*data\.missing=skip"):
        data_of(volumes).records("train")
    data = data_of(volumes, missing="skip")
    with pytest.warns(UserWarning, match="left out 1 x missing file"):
        assert len(data.records("train")) == 5
    batch = next(iter(data.val_dataloader()))
    assert batch.indices.tolist() == [1, 2]
    assert len(batch.skipped) == 1
    nothing = data.collate([])
    assert (len(nothing.images), len(nothing.labels), nothing.names) == (0, 0, [])


def test_a_wrong_label_or_an_empty_patient_stops_training(volumes):
    text = (volumes / "val.csv").read_text()
    (volumes / "val.csv").write_text(text.replace("7.nii.gz,sick", "7.nii.gz,dead"))
    with pytest.raises(ValueError, match=r"val\.csv: line 3: label 'dead' is not among the classes: sick, well"):
        data_of(volumes).records("val")
    (volumes / "val.csv").write_text(text.replace("sick,p3", "sick,"))
    with pytest.raises(ValueError, match=r"val\.csv: line 3: the patient of 7\.nii\.gz is empty"):
        data_of(volumes).records("val")


def test_scans_to_predict_on(volumes, write_series):
    series = write_series(volumes / "ct", np.zeros((6, 5, 4), np.int16), left_out=[2])
    whole = write_series(volumes / "other/ct", np.arange(120).reshape(6, 5, 4).astype(np.int16))
    paths = [str(volumes / "3.nii.gz"), str(volumes / "ct"), str(volumes / "other")]
    data = data_of(volumes, class_names=["sick", "well"], predict=paths, columns=None)
    (batch,) = data.predict_dataloader()
    assert batch.names == [paths[0], whole]
    assert batch.labels.tolist() == [-1, -1]
    assert len(batch.skipped) == 1
    assert batch.skipped[0].startswith(f"{series}: the spacing between ")
    findings = data_of(
        volumes, class_names=["a", "b", "c"], predict=paths[:1], kind="findings", columns=Columns(study="v")
    )
    (batch,) = findings.predict_dataloader()
    assert batch.labels.isnan().all()
    assert tuple(batch.labels.shape) == (1, 3)
    assert tuple(batch.images.shape) == (1, 1, 1, 4, 5, 6)


def test_arrays_of_medmnist(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {}
    for split, number in (("train", 20), ("val", 6)):
        arrays[f"{split}_images"] = rng.integers(0, 255, (number, 28, 28, 3), dtype=np.uint8)
        arrays[f"{split}_labels"] = np.arange(number)[:, None] % 2
    arrays["val_images"][3] = arrays["train_images"][11]
    np.savez(tmp_path / "a.npz", **arrays)
    options = {"train": "train", "val": "val", "intensity": Range(), "class_names": ["well", "sick"]}
    data = data_of(tmp_path / "a.npz", resample=Resample((28, 28), channels=3), **options)
    (batch, _) = data.val_dataloader()
    np.testing.assert_allclose(batch.images.numpy(), np.moveaxis(arrays["val_images"][:3], 3, 1) / 127.5 - 1, atol=1e-6)
    assert data.class_names == ("well", "sick")
    with pytest.raises(ValueError, match=r"a\.npz: train 11: a\.npz train 11 has the same pixels as a\.npz val 3\."):
        data.train_dataloader()
    gray = data_of(tmp_path / "a.npz", resample=Resample((28, 28)), leak="drop", **options)
    with pytest.raises(UnreadableFile, match=r"a\.npz val 0: is in color"):
        next(iter(gray.val_dataloader()))


def test_padding_looks_like_the_background(volumes):
    data = data_of(volumes, resample=Resample((9, 9, 9), fit="crop"), intensity=Window("bone"))
    images = next(iter(data.val_dataloader())).images
    assert images[0, 0, 0, 0, 0] == images[0].min()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folds": 3, "fold": 3}, "fold is 3 of 3"),
        ({"folds": 3, "val_fraction": 0.1}, "give one of them"),
        ({"balance": 2}, "balance is 2"),
    ],
)
def test_settings_that_make_no_sense_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        data_of(tmp_path, **options)


def test_every_argument_is_a_flag(volumes, monkeypatch):
    monkeypatch.chdir(volumes)
    Path("a.yaml").write_text(
        """
data:
  class_path: vertebra.tasks.medical.data.MedicalData
  init_args:
    train: train.csv
    val: val.csv
    columns: {patient: patient}
    intensity: {class_path: vertebra.tasks.medical.intensity.Window, init_args: {preset: soft tissue}}
    resample: {size: [4, 5, 6], spacing: [1.0, 1.0, 1.0]}
    augment:
    - {class_path: monai.transforms.RandFlip, init_args: {prob: 0.5, spatial_axis: 0}}
    - {class_path: monai.transforms.RandAffine, init_args: {prob: 0.5, rotate_range: [0.1, 0.1, 0.1]}}
"""
    )
    parser = LightningArgumentParser()
    parser.add_argument("--config", action="config")
    parser.add_subclass_arguments(TaskData, "data")
    args = ["--config", "a.yaml", "--data.leak", "drop", "--data.resample.channels", "3", "--data.num_workers", "0"]
    data = parser.instantiate_classes(parser.parse_args(args)).data
    assert data.intensity == Window("soft tissue")
    assert data.resample == Resample((4, 5, 6), (1.0, 1.0, 1.0), channels=3)
    assert [type(one).__name__ for one in data.augment.compose.transforms] == ["RandFlip", "RandAffine"]
    assert next(iter(data.train_dataloader())).images.shape == (6, 3, 4, 5, 6)
