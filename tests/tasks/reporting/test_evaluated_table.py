import csv

import numpy as np
import pytest

from vertebra.tasks.reporting.evaluated_table import EvaluatedTable, read_evaluated, write_evaluated


def classes_table():
    probs = np.random.default_rng(0).dirichlet(np.ones(3), size=4)
    names = np.array(["a/1.nii.gz", 'b, "2"', "ü", "d"])
    labels = np.array([0, 2, 1, 2])
    return EvaluatedTable(("healthy", "left, lower", "right"), names, np.array(["p", "p", "q", "r"]), labels, probs)


def findings_table():
    probs = np.random.default_rng(1).random((3, 2)) ** 20  # some very small
    labels = np.array([[1, np.nan], [0, 1], [np.nan, 0]])
    return EvaluatedTable(("mass", "nodule"), np.array(["1", "2", "3"]), np.array(["x", "x", "y"]), labels, probs)


@pytest.mark.parametrize("table", [classes_table(), findings_table()], ids=["classes", "findings"])
def test_what_is_written_is_read_to_the_last_bit(table, tmp_path):
    file = tmp_path / "new" / "scores_test.csv"
    write_evaluated(file, table)
    read = read_evaluated(file)
    assert read.class_names == table.class_names
    for written, found in zip(table[1:], read[1:], strict=True):
        np.testing.assert_array_equal(found, written)
        assert found.dtype.kind == written.dtype.kind


def test_the_columns_are_what_people_expect(tmp_path):
    write_evaluated(tmp_path / "a.csv", classes_table())
    write_evaluated(tmp_path / "b.csv", findings_table())
    first, second = (list(csv.DictReader((tmp_path / name).open(encoding="utf-8"))) for name in ("a.csv", "b.csv"))
    assert list(first[0]) == ["name", "group", "label", "prob_healthy", "prob_left, lower", "prob_right"]
    assert [row["label"] for row in first] == ["healthy", "right", "left, lower", "right"]
    assert list(second[0]) == ["name", "group", "label_mass", "label_nodule", "prob_mass", "prob_nodule"]
    assert [row["label_mass"] for row in second] == ["1", "0", ""]


@pytest.mark.parametrize("table", [classes_table(), findings_table()], ids=["classes", "findings"])
def test_no_samples_are_no_error(table, tmp_path):
    write_evaluated(tmp_path / "none.csv", table.only(np.zeros(0, int)))
    read = read_evaluated(tmp_path / "none.csv")
    assert read.names.shape == (0,)
    assert read.labels.shape == (0, *table.labels.shape[1:])
    assert read.probs.shape == (0, len(table.class_names))


def test_samples_are_taken_in_any_order():
    part = classes_table().only(np.array([2, 0]))
    assert part.names.tolist() == ["ü", "a/1.nii.gz"]
    assert part.labels.tolist() == [1, 0]
    np.testing.assert_array_equal(part.probs, classes_table().probs[[2, 0]])


def test_a_table_of_another_program_is_read(tmp_path):
    file = tmp_path / "theirs.csv"
    text = "\ufeffage,prob_no,prob_yes,name,label,group\n40,0.9,1e-1,s1,no,\n50,0,1,s2,yes,p\n"
    file.write_text(text, encoding="utf-8")
    table = read_evaluated(file)
    assert table.class_names == ("no", "yes")
    assert table.groups.tolist() == ["s1", "p"]  # who has no group is one by himself
    assert table.labels.tolist() == [0, 1]
    assert table.probs.tolist() == [[0.9, 0.1], [0, 1]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,label,prob_a\n", r"its columns are \['name', 'label', 'prob_a'\]; expected name, group, prob_CLASS"),
        ("name,group,label\n", "prob_CLASS for every class"),
        ("name,group,label_a,prob_a,prob_b\n", "label_CLASS for every class"),
        ("name,group,label,prob_a\nx,,a,1\n,,a,1\n", "line 3: the name is empty"),
        ("name,group,label,prob_a\nx,,a,1\nx,,a,1\n", "line 3: 'x' is already in line 2"),
        ("name,group,label,prob_a\nx,,b,1\n", "line 2: label 'b' is not among the classes a"),
        ("name,group,label,prob_a\nx,,a,1.5\n", "line 2: prob_a is '1.5'; expected a probability"),
        ("name,group,label,prob_a\nx,,a,nan\n", "line 2: prob_a is 'nan'"),
        ("name,group,label,prob_a\nx,,a\n", "line 2: prob_a is ''"),
        ("name,group,label_a,prob_a\nx,,0.5,1\n", "line 2: label_a is '0.5'; write 1, 0, or nothing"),
    ],
)
def test_faults_are_named_with_their_line(text, message, tmp_path):
    file = tmp_path / "scores_val.csv"
    file.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        read_evaluated(file)
    assert str(file) in str(error.value)


def test_files_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"scores_val\.csv does not exist"):
        read_evaluated(tmp_path / "scores_val.csv")
    (tmp_path / "latin.csv").write_bytes("name,group,label,prob_a\nä,,a,1\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin\.csv: cannot be read as CSV"):
        read_evaluated(tmp_path / "latin.csv")
