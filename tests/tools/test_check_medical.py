"""`vertebra check` on scans: every fault that is planted is found, with file and row."""

from collections import Counter

import nibabel
import numpy as np
import pytest
from PIL import Image

from vertebra.tools.check import main


def kinds(output):
    return Counter(line[line.rindex("[") + 1 : -1] for line in output.splitlines() if line.endswith("]"))


def line_with(output, text):
    return next(line for line in output.splitlines() if text in line)


def save(file, voxels):
    file.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), file)


@pytest.fixture
def volumes(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(8):
        save(tmp_path / f"{number}.nii.gz", rng.normal(size=(6, 5, 4)).astype(np.float32))
    rows = [f"{number}.nii.gz,{number % 2},p{number // 2}" for number in range(8)]
    (tmp_path / "train.csv").write_text("\n".join(["path,label,patient", *rows[:4]]))
    (tmp_path / "val.csv").write_text("\n".join(["path,label,patient", *rows[4:]]))
    return tmp_path


def test_sound_lists(volumes, capsys):
    assert main([str(volumes / "train.csv"), str(volumes / "val.csv")]) == 0
    output = capsys.readouterr().out
    assert output.count("4 studies, 4 labels: 0 2, 1 2; 2 groups in column patient") == 2
    assert "2 splits compared" in output
    assert "faults in all: 0" in output


def test_every_planted_fault_is_found(volumes, capsys):
    broken = np.ones((6, 5, 4), np.float32)
    broken[1, 2, 3] = np.nan
    save(volumes / "1.nii.gz", broken)
    save(volumes / "2.nii.gz", np.full((6, 5, 4), 7, np.float32))
    whole = (volumes / "3.nii.gz").read_bytes()
    (volumes / "3.nii.gz").write_bytes(whole[: len(whole) // 2])
    (volumes / "5.nii.gz").write_bytes((volumes / "0.nii.gz").read_bytes())
    with (volumes / "val.csv").open("a") as file:
        file.write("\ngone.nii.gz,1,p9\n7.nii.gz,1,p3\n0.nii.gz,1,\n4.nii.gz,1,p2\nx.nii.gz,2,p2\n")
    text = (volumes / "train.csv").read_text()
    (volumes / "train.csv").write_text(text.replace("3.nii.gz,1,p1", "3.nii.gz,1,p3"))
    train, val = str(volumes / "train.csv"), str(volumes / "val.csv")
    assert main([train, val, "--patient", "patient"]) == 1
    output = capsys.readouterr().out
    assert kinds(output) == {
        "unreadable scan": 2,
        "constant scan": 1,
        "missing file": 1,
        "duplicate file name": 1,
        "empty patient": 1,
        "conflicting labels": 1,
        "unknown category": 1,
        "leak": 2,
    }
    assert line_with(output, "NaN").startswith(f"{train}: line 3: {volumes}/1.nii.gz: 1 of 120 pixels are NaN")
    assert f"{train}: line 4: all 120 pixels of {volumes}/2.nii.gz are 7" in output
    assert (
        f"{train}: line 5: {volumes}/3.nii.gz is of patient 'p3', who is also in {volumes}/6.nii.gz (line 4 of"
        in output
    )
    assert f"{train}: line 2: {volumes}/0.nii.gz has the same pixels as {volumes}/5.nii.gz (line 3 of {val})" in output
    assert f"{val}: line 6: {volumes}/gone.nii.gz does not exist" in output


def test_a_class_that_a_split_lacks(volumes, capsys):
    (volumes / "val.csv").write_text("path,label,patient\n4.nii.gz,0,p2\n")
    assert main([str(volumes / "train.csv"), str(volumes / "val.csv")]) == 1
    assert f"{volumes}/val.csv: no study is of class '1'" in capsys.readouterr().out


def test_findings_of_studies(volumes, capsys):
    rows = ["0.nii.gz,1,0,v1", "1.nii.gz,1,0,v1", "2.nii.gz,1,1,v2"]
    (volumes / "train.csv").write_text("\n".join(["path,edema,mass,visit", *rows]))
    assert main([str(volumes / "train.csv"), "--labels", "edema", "mass", "--study", "visit"]) == 1
    output = capsys.readouterr().out
    assert "2 studies, 3 findings: edema 2, mass 1" in output
    assert "all studies of which it is known have 'edema'" in output
    assert "faults in all: 1" in output


def test_images_are_scans_where_patients_are_given(tmp_path, capsys):
    for number in range(2):
        pixels = np.random.default_rng(number).integers(0, 255, (5, 6), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    Image.open(tmp_path / "1.png").save(tmp_path / "2.bmp")  # the same pixels, other bytes
    (tmp_path / "train.csv").write_text("path,label,who\n0.png,a,x\n1.png,b,y\n")
    (tmp_path / "val.csv").write_text("path,label,who\n2.bmp,b,z\n")
    paths = [str(tmp_path / "train.csv"), str(tmp_path / "val.csv")]
    assert main([*paths, "--patient", "who"]) == 1
    assert kinds(capsys.readouterr().out) == {"leak": 1, "empty class": 1}
    assert main(paths) == 0  # as images, of which only paths and bytes are compared
    assert "1 images" in capsys.readouterr().out


def test_arrays_of_medmnist(tmp_path, capsys):
    rng = np.random.default_rng(0)
    arrays = {}
    for split in ("train", "val", "test"):
        arrays[f"{split}_images"] = rng.integers(0, 255, (6, 8, 8), dtype=np.uint8)
        arrays[f"{split}_labels"] = np.arange(6)[:, None] % 3
    arrays["val_images"][4] = arrays["train_images"][1]
    arrays["test_images"][5] = 9
    file = tmp_path / "a.npz"
    np.savez(file, **arrays)
    assert main([str(file)]) == 1
    output = capsys.readouterr().out
    assert kinds(output) == {"leak": 1, "constant scan": 1}
    assert f"{file}: train 1: a.npz train 1 has the same pixels as a.npz val 4." in output
    assert "3 splits compared" in output
    (tmp_path / "b.npz").write_bytes(file.read_bytes()[:1000])
    assert main([str(tmp_path / "b.npz")]) == 1
    assert f"{tmp_path}/b.npz: cannot be read as .npz" in capsys.readouterr().out


def test_chest_xray14(tmp_path, capsys):
    (tmp_path / "images").mkdir()
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 255, (5, 6), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"images/{number}.png")
    rows = ["0.png,Mass,1", "1.png,No Finding,2", "2.png,Mass,1"]
    (tmp_path / "Data_Entry_2017.csv").write_text("\n".join(["Image Index,Finding Labels,Patient ID", *rows]))
    (tmp_path / "train_val_list.txt").write_text("0.png\n1.png\n")
    (tmp_path / "test_list.txt").write_text("2.png\n")
    assert main([str(tmp_path / "train_val_list.txt"), str(tmp_path / "test_list.txt")]) == 1
    output = capsys.readouterr().out
    assert "2 studies, 1 findings: Mass 1" in output
    assert kinds(output) == {"leak": 1, "empty class": 1}
    assert main([str(tmp_path / "Data_Entry_2017.csv")]) == 0


def test_folders_without_labels(volumes, capsys):
    assert main([str(volumes)]) == 0
    assert "4 studies, 4 labels" in capsys.readouterr().out  # of train.csv
    for table in volumes.glob("*.csv"):
        table.unlink()
    assert main([str(volumes)]) == 0
    assert "8 studies, without labels" in capsys.readouterr().out
    for name in ("train", "val"):
        (volumes / name).mkdir()
        (volumes / name / "a.nii.gz").write_bytes((volumes / "0.nii.gz").read_bytes())
    assert main([str(volumes)]) == 1
    assert kinds(capsys.readouterr().out) == {"leak": 1}
    (volumes / "none").mkdir()
    with pytest.raises(SystemExit):
        main([str(volumes / "none")])
