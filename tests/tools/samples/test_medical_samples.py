import csv

import nibabel as nib
import numpy as np
import pytest
from nibabel.affines import apply_affine
from sklearn.metrics import roc_auc_score

from vertebra.tools.samples.medical import CLASSES, draw_volume, patient_of, write_medical_samples

SIZE = 24


def contents(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def table(file):
    with file.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("samples")
    write_medical_samples(root, train=24, val=12, size=SIZE)
    return root


@pytest.fixture(scope="module")
def volumes():
    return [draw_volume(index, SIZE) for index in range(120)]


def test_tables_list_every_volume(root):
    for split, number in (("train", 24), ("val", 12)):
        rows = table(root / f"{split}.csv")
        assert list(rows[0]) == ["path", "label", "patient"]
        assert [row["path"] for row in rows] == [f"volumes/{split}/{index:06d}.nii.gz" for index in range(number)]
        assert all((root / row["path"]).is_file() for row in rows)
        assert sum(row["label"] == CLASSES[1] for row in rows) == number // 6
    assert len(list(root.rglob("*.nii.gz"))) == 36


def test_patients_have_several_volumes_and_are_in_one_split(root):
    patients = [[row["patient"] for row in table(root / f"{split}.csv")] for split in ("train", "val")]
    assert not set(patients[0]) & set(patients[1])
    first = [patient_of(index) for index in range(20)]
    numbers = np.unique([patient.name for patient in first], return_counts=True)[1]
    assert numbers.tolist() == [1, 2, 3, 4] * 2
    assert first[3].noise == first[5].noise != first[6].noise
    assert len({patient_of(index).orientation for index in range(100)}) > 3


def test_files_hold_the_volumes_in_the_orientation_of_the_patient(root):
    for stream, split in enumerate(("train", "val")):
        for index, row in enumerate(table(root / f"{split}.csv")):
            image, patient = nib.load(root / row["path"]), patient_of(index, 0, stream)
            assert "".join(nib.aff2axcodes(image.affine)) == patient.orientation
            assert image.get_data_dtype() == np.int16
            transform = nib.orientations.ornt_transform(
                nib.io_orientation(image.affine), nib.orientations.axcodes2ornt("SPL")
            )
            volume, _ = draw_volume(index, SIZE, stream=stream)
            assert (nib.orientations.apply_orientation(np.asarray(image.dataobj), transform) == volume).all()
            zooms = np.array(nib.as_closest_canonical(image).header.get_zooms())
            np.testing.assert_allclose(zooms[::-1], patient.spacing, rtol=1e-5)  # canonical: left to right first


def test_nodules_are_at_the_positions_of_their_table(root):
    rows = table(root / "nodules.csv")
    labeled = {
        row["path"] for split in ("train", "val") for row in table(root / f"{split}.csv") if row["label"] != "clear"
    }
    assert {row["path"] for row in rows} == labeled
    for row in rows:
        image = nib.load(root / row["path"])
        center = np.array([float(row[axis]) for axis in "xyz"])
        grid = np.stack(np.meshgrid(*map(np.arange, image.shape), indexing="ij"), axis=-1)
        distance = np.linalg.norm(apply_affine(image.affine, grid) - center, axis=-1)
        values = image.get_fdata()
        assert values[distance < float(row["radius"]) - 1].mean() > -250  # HU; air is -850


def test_files_are_reproducible_and_independent_of_the_counts(tmp_path, root):
    write_medical_samples(tmp_path / "fewer", train=6, val=12, size=SIZE)
    fewer, more = contents(tmp_path / "fewer"), contents(root)
    scans = [name for name in fewer if name.endswith(".nii.gz")]
    assert len(scans) == 18
    assert all(fewer[name] == more[name] for name in scans)
    assert fewer["val.csv"] == more["val.csv"]
    assert (draw_volume(0, SIZE, seed=1)[0] != draw_volume(0, SIZE)[0]).any()
    assert (draw_volume(0, SIZE, stream=1)[0] != draw_volume(0, SIZE)[0]).any()


def test_nodules_are_inside_the_volume_and_in_one_volume_of_six(volumes):
    for index, (volume, nodules) in enumerate(volumes):
        assert volume.shape == (SIZE,) * 3
        assert bool(nodules) == (index % 6 == 5)
        for nodule in nodules:
            margin = nodule.radius / patient_of(index).spacing
            assert (nodule.center >= margin).all()
            assert (nodule.center <= SIZE - 1 - margin).all()
    assert {len(nodules) for _, nodules in volumes} == {0, 1, 2}


@pytest.mark.parametrize("measure", [np.mean, np.std, np.max, lambda volume: np.percentile(volume, 95)])
def test_brightness_is_independent_of_the_class(volumes, measure):
    truth = [bool(nodules) for _, nodules in volumes]
    score = roc_auc_score(truth, [measure(volume) for volume, _ in volumes])
    assert 0.3 < score < 0.7  # with 20 positives, chance gives 0.36 to 0.64


def test_too_small_volumes_are_refused():
    with pytest.raises(ValueError, match="size is 16; nodules need at least 20 voxels"):
        draw_volume(0, 16)
