"""Lists of studies in the forms that people have, and every fault with file and row."""

from pathlib import Path

import numpy as np
import pytest

from vertebra.tasks.medical.formats import read_studies
from vertebra.tasks.medical.formats.medmnist import read_medmnist
from vertebra.tasks.medical.formats.study_options import Columns

NAN = float("nan")


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def read(root, text, kind="classes", columns=None, names=None):
    (root / "list.csv").write_text(text)
    return read_studies(root, "list.csv", kind, columns or Columns(), names)


def kinds_of(faults):
    return [(fault.message.partition(":")[0], fault.kind) for fault in faults]


def test_classes(tmp_path):
    touch(tmp_path, "a.nii", "b.nii", "c.nii")
    studies, faults = read(tmp_path, "path,label,age\na.nii,sick,5\nb.nii,healthy,6\nc.nii,sick,7\n")
    assert faults == []
    assert studies.class_names == ("healthy", "sick")
    assert studies.labels.tolist() == [1, 0, 1]
    assert studies.names.tolist() == studies.patients.tolist() == [str(tmp_path / f"{name}.nii") for name in "abc"]
    assert studies.rows.tolist() == ["line 2", "line 3", "line 4"]
    assert studies.place(1) == f"{tmp_path}/b.nii (line 3 of {tmp_path}/list.csv)"
    numbers, _ = read(tmp_path, "path,label\na.nii,10\nb.nii,9\n")
    assert numbers.class_names == ("9", "10")


def test_grades_keep_their_order(tmp_path):
    touch(tmp_path, "a.nii", "b.nii", "c.nii")
    studies, _ = read(tmp_path, "path,label\na.nii,3\nb.nii,0\nc.nii,1\n", "grades")
    assert studies.class_names == ("0", "1", "2", "3")
    assert studies.labels.tolist() == [3, 0, 1]
    words = "path,label\na.nii,severe\nb.nii,none\n"
    studies, _ = read(tmp_path, words, "grades", names=["none", "mild", "severe"])
    assert studies.labels.tolist() == [2, 0]
    with pytest.raises(ValueError, match=r"its grades are none, severe, whose order is unknown.*data\.class_names"):
        read(tmp_path, words, "grades")


def test_findings_may_be_unknown(tmp_path):
    touch(tmp_path, "a.png", "b.png", "c.png")
    columns = Columns(labels=["edema", "mass"])
    studies, faults = read(
        tmp_path, "path,edema,mass\na.png,1,0\nb.png,,1.0\nc.png,-1,2\n", "findings", columns, ["edema", "mass"]
    )
    np.testing.assert_array_equal(studies.labels, np.array([[1, 0], [NAN, 1]], np.float32))
    assert studies.labels.dtype == np.float32
    assert [fault.message for fault in faults] == [
        "line 4: edema is '-1'; expected 1, 0, or nothing where it is unknown.",
        "line 4: mass is '2'; expected 1, 0, or nothing where it is unknown.",
    ]
    with pytest.raises(ValueError, match="the findings in use are mass, edema"):
        read(tmp_path, "path,edema,mass\na.png,1,0\n", "findings", columns, ["mass", "edema"])
    with pytest.raises(ValueError, match=r"data\.kind=classes has one column"):
        read(tmp_path, "path,edema,mass\na.png,1,0\n", "classes", columns)


def test_images_of_one_study_belong_together(tmp_path):
    touch(tmp_path, *(f"{name}.png" for name in "abcde"))
    columns = Columns(patient="who", study="visit")
    text = (
        "path,label,who,visit\na.png,x,p1,v1\nb.png,y,p2,v2\nc.png,x,p1,v1\nd.png,y,p1,v1\ne.png,x,p9,v1\n"
        "a.png,x,p1,v3\n,x,p1,v3\nb.png,y,p2,\n"
    )
    studies, faults = read(tmp_path, text, "classes", columns)
    assert studies.names.tolist() == ["v1", "v2"]
    assert studies.patients.tolist() == ["p1", "p2"]
    assert studies.rows.tolist() == ["line 2", "line 3"]
    assert studies.images.grouped
    assert studies.images.files.tolist() == [str(tmp_path / f"{name}.png") for name in "acb"]
    assert studies.images.starts.tolist() == [0, 2, 3]
    only = studies.only(np.array([1])).images
    assert (only.files.tolist(), only.starts.tolist(), only.grouped) == ([str(tmp_path / "b.png")], [0, 1], True)
    assert kinds_of(faults) == [
        ("line 5", "conflicting labels"),
        ("line 6", "conflicting labels"),
        ("line 7", "duplicate file name"),
        ("line 8", "unreadable annotations"),
        ("line 9", "unreadable annotations"),
    ]
    assert "study 'v1' is of patient 'p9', but of 'p1' in line 2" in faults[1].message


def test_every_planted_fault_has_its_row(tmp_path):
    touch(tmp_path, *(f"{name}.nii" for name in "abcde"))
    rows = ["a.nii,0,p1", "b.nii,7,p2", "c.nii,1,", "gone.nii,1,p3", ",1,p4", "d.nii,,p5", "a.nii,0,p1", "a.nii,1,p1"]
    text = "\n".join(["path,label,patient", *rows])
    studies, faults = read(tmp_path, text, "classes", Columns(patient="patient"), ["0", "1"])
    assert len(studies) == 1
    assert kinds_of(faults) == [
        ("line 3", "unknown category"),
        ("line 7", "unreadable annotations"),
        ("line 4", "empty patient"),
        ("line 5", "missing file"),
        ("line 6", "unreadable annotations"),
        ("line 8", "duplicate file name"),
        ("line 9", "conflicting labels"),
    ]
    assert {fault.file for fault in faults} == {str(tmp_path / "list.csv")}
    assert f"{tmp_path}/gone.nii does not exist" in str(faults[3])
    with pytest.raises(ValueError, match=r"list\.csv: has no column who, visit; its columns are path, label, patient"):
        read(tmp_path, text, "classes", Columns(patient="who", study="visit"))
    (tmp_path / "latin.csv").write_bytes("path,label\nä.nii,1\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin\.csv: .*expected text in UTF-8"):
        read_studies(tmp_path, "latin.csv", "classes", Columns())


def test_ids_of_two_spellings_are_named(tmp_path):
    touch(tmp_path, *(f"{name}.nii" for name in "abcdefg"))
    rows = [
        "a.nii,x,007,v1",
        "b.nii,x,7,v2",
        "c.nii,y,8,v3",
        "d.nii,y,8.0,v3",
        "e.nii,y,P01,1.2.3",
        "f.nii,y,P1,1.2.03",
    ]
    text = "\n".join(["path,label,patient,visit", *rows, "g.nii,x,7,v02"])
    _, faults = read(tmp_path, text, "classes", Columns(patient="patient", study="visit"))
    assert kinds_of(faults) == [
        ("line 5", "conflicting labels"),
        ("line 3", "ambiguous id"),
        ("line 5", "ambiguous id"),
        ("line 7", "ambiguous id"),
        ("line 8", "ambiguous id"),
    ]
    assert "patient '7' is '007' in line 2, spelled differently, or another patient" in faults[1].message
    assert "study 'v02' is 'v2' in line 3" in faults[4].message
    _, faults = read(tmp_path, "path,label\na.nii,1\nb.nii,0\n")  # of files every path is one
    assert faults == []


def test_labels_as_spreadsheets_write_them(tmp_path):
    touch(tmp_path, *(f"{name}.nii" for name in "abcdef"))
    text = "path,label\na.nii,1.0\nb.nii,0\nc.nii,NaN\nd.nii,\ne.nii,10.00\nf.nii,1.5\n"
    studies, faults = read(tmp_path, text.replace("f.nii,1.5\n", ""))
    assert studies.class_names == ("0", "1", "10")
    assert studies.labels.tolist() == [1, 0, 2]
    assert [fault.message for fault in faults] == [
        "line 4: the label is 'NaN', which means that there is none; give one, or remove the row.",
        "line 5: the label is empty; give one, or remove the row.",
    ]
    assert read(tmp_path, text)[0].class_names == ("0", "1", "1.5", "10")
    assert read(tmp_path, "path,label\na.nii,2.0\nb.nii,0\n", "grades")[0].class_names == ("0", "1", "2")
    words, faults = read(tmp_path, "path,label\na.nii,yes\nb.nii,no\nc.nii,none\n")
    assert (words.class_names, faults) == (("no", "none", "yes"), [])
    # of a split with classes of its own, either spelling is found
    assert read(tmp_path, text, names=["0", "1", "10", "1.5"])[0].labels.tolist() == [1, 0, 2, 3]
    assert read(tmp_path, "path,label\na.nii,1.0\n", names=["0.0", "1.0"])[0].labels.tolist() == [1]
    named, faults = read(tmp_path, "path,label\na.nii,nan\n", names=["nan", "x"])
    assert (named.labels.tolist(), faults) == ([0], [])
    _, faults = read(tmp_path, "path,label\na.nii,1\nb.nii,01\nc.nii,1.0\n")
    assert [fault.message for fault in faults] == [
        "line 3: label '01' is '1' in line 2, spelled differently; spell one class alike."
    ]
    _, faults = read(tmp_path, "path,x,y\na.nii,yes,nan\n", "findings", Columns(labels=["x", "y"]))
    assert [fault.message.split(";")[0] for fault in faults] == ["line 2: x is 'yes'", "line 2: y is 'nan'"]


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("", "classes", "has no column path, label"),
        ("path,label\na.nii,1\nb.nii,99999999\n", "grades", "its grades are from 1 to 99999999; expected fewer"),
        ("path,label\na.nii,1\nb.nii,1.5\n", "grades", "its grades are 1, 1.5"),
        (f"path,label\na.nii,{'9' * 5000}\n", "grades", "its grades are 999"),
        (f"path,label\n{'x' * 200_000},1\n", "classes", "cannot be read as CSV"),
    ],
)
def test_odd_tables_are_refused(tmp_path, text, kind, message):
    touch(tmp_path, "a.nii", "b.nii")
    with pytest.raises(ValueError, match=message) as caught:
        read(tmp_path, text, kind)
    assert str(caught.value).startswith(f"{tmp_path / 'list.csv'}: ")


def test_a_name_that_no_file_can_have_is_a_missing_file(tmp_path):
    text = "\n".join(["path,label", f"{'x' * 5000}.nii,1"])
    assert kinds_of(read(tmp_path, text)[1]) == [("line 2", "missing file")]


def test_a_list_with_zero_bytes_is_no_text(tmp_path):
    with pytest.raises(ValueError, match=r"list\.csv: is not text"):
        read(tmp_path, "path,label\na\0b.nii,1")


def test_other_sources_are_refused(tmp_path):
    (tmp_path / "list.xyz").write_text("")
    with pytest.raises(ValueError, match=r"list\.xyz: is a file of none of the known formats"):
        read_studies(tmp_path, "list.xyz", "classes", Columns())
    with pytest.raises(FileNotFoundError, match=r"gone\.csv does not exist"):
        read_studies(tmp_path, "gone.csv", "classes", Columns())
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        read_studies(tmp_path / "nowhere", "a.csv", "classes", Columns())


def save(file, **arrays):
    np.savez(file, **arrays)
    return file


def test_medmnist_of_every_shape(tmp_path):
    rng = np.random.default_rng(0)
    for shape, expected in [((28, 28), (1, 28, 28)), ((28, 28, 3), (3, 28, 28)), ((9, 8, 7), (1, 9, 8, 7))]:
        images = rng.integers(0, 255, (5, *shape), dtype=np.uint8)
        labels = np.array([[0], [1], [2], [0], [1]], np.uint8)
        file = save(tmp_path / "a.npz", train_images=images, train_labels=labels, val_labels=np.array([[4]]))
        studies = read_medmnist(file, "train", "classes")
        assert studies.class_names == ("0", "1", "2", "3", "4")  # as far as any split has them
        assert studies.labels.tolist() == [0, 1, 2, 0, 1]
        assert studies.names[3] == studies.patients[3] == "a.npz train 3"
        part = studies.only(np.array([4, 1]))
        assert part.images.pixels is studies.images.pixels  # no copy
        (scan,) = part.images.read(0)
        assert scan.name == "a.npz train 4"
        assert scan.pixels.shape == expected
        np.testing.assert_array_equal(scan.pixels, np.moveaxis(images[4], 2, 0) if 3 in shape else images[4][None])
    names = read_medmnist(file, "train", "grades", ["a", "b", "c"]).class_names
    assert names == ("a", "b", "c")


def test_medmnist_of_findings(tmp_path):
    images, labels = np.zeros((2, 4, 4), np.uint8), np.array([[0, 1, 1], [0, 0, 1]])
    studies = read_medmnist(save(tmp_path / "a.npz", val_images=images, val_labels=labels), "val", "findings")
    assert studies.class_names == ("0", "1", "2")
    np.testing.assert_array_equal(studies.labels, labels.astype(np.float32))


@pytest.mark.parametrize(
    ("arrays", "kind", "names", "message"),
    [
        ({}, "classes", None, r"has no train_images and train_labels, but val_images"),
        ({"train_images": np.zeros((2, 4)), "train_labels": np.zeros((2, 1), int)}, "classes", None, r"is \(2, 4\)"),
        ({"train_images": np.zeros((2, 4, 4)), "train_labels": np.zeros((3, 1), int)}, "classes", None, "2 images"),
        ({"train_images": np.zeros((2, 4, 4)), "train_labels": np.zeros((2, 1))}, "classes", None, "whole numbers"),
        ({"train_images": np.zeros((2, 4, 4)), "train_labels": np.zeros((2, 3), int)}, "classes", None, "are findings"),
        ({"train_images": np.zeros((2, 4, 4)), "train_labels": np.zeros((2, 1), int)}, "findings", None, "are classes"),
        (
            {"train_images": np.zeros((2, 4, 4)), "train_labels": np.array([[0], [2]])},
            "classes",
            ["a", "b"],
            r"train 1 has label \[2\] \(1 such\); expected 0\.\.1",
        ),
        (
            {"train_images": np.zeros((2, 4, 4)), "train_labels": np.zeros((2, 3), int)},
            "findings",
            ["a", "b"],
            "has 3 findings, but 2 names",
        ),
    ],
)
def test_arrays_that_are_not_medmnists_are_refused(tmp_path, arrays, kind, names, message):
    file = save(tmp_path / "a.npz", **(arrays or {"val_images": np.zeros(3)}))
    with pytest.raises(ValueError, match=message):
        read_medmnist(file, "train", kind, names)


def test_a_broken_npz_is_named(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"404 not found")
    with pytest.raises(ValueError, match=r"a\.npz: cannot be read as \.npz"):
        read_medmnist(tmp_path / "a.npz", "train", "classes")


def test_chest_xray14(tmp_path):
    touch(tmp_path, "images_001/images/1_0.png", "images_002/images/1_1.png", "images_002/images/2_0.png")
    (tmp_path / "Data_Entry_2017.csv").write_text(
        "Image Index,Finding Labels,Follow-up #,Patient ID,OriginalImage[Width,Height]\n"
        "1_0.png,Mass|Edema,0,1,5,6\n1_1.png,No Finding,1,1,5,6\n2_0.png,Edema,0,2,5,6\n3_0.png,Hernia,0,3,5,6\n"
    )
    (tmp_path / "train_val_list.txt").write_text("1_0.png\n1_1.png\n9_9.png\n")
    (tmp_path / "test_list.txt").write_text("2_0.png\n3_0.png\n")
    train, faults = read_studies(tmp_path, "train_val_list.txt", "findings", Columns())
    assert train.class_names == ("Edema", "Hernia", "Mass")
    assert train.labels.tolist() == [[1, 0, 1], [0, 0, 0]]
    assert train.patients.tolist() == ["1", "1"]
    assert train.images.files.tolist() == [
        str(tmp_path / "images_001/images/1_0.png"),
        str(tmp_path / "images_002/images/1_1.png"),
    ]
    assert [str(fault) for fault in faults] == [
        f"{tmp_path}/train_val_list.txt: line 3: 9_9.png is not in {tmp_path}/Data_Entry_2017.csv. Take it out of the "
        "list. [unknown image]"
    ]
    test, faults = read_studies(tmp_path, "test_list.txt", "findings", Columns(), ["Edema", "Mass"])
    assert test.labels.tolist() == [[1, 0]]
    assert kinds_of(faults) == [("line 5", "unknown category")]
    whole, faults = read_studies(tmp_path, "Data_Entry_2017.csv", "findings", Columns())
    assert len(whole) == 3
    assert kinds_of(faults) == [("line 5", "missing file")]
    with pytest.raises(ValueError, match=r"set data\.kind=findings"):
        read_studies(tmp_path, "test_list.txt", "classes", Columns())
