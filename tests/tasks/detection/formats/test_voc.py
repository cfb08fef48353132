import pytest
from PIL import Image

from vertebra.tasks.detection.formats import FORMATS, read_annotations
from vertebra.tasks.detection.formats.voc import read_voc
from vertebra.tasks.loading.files import faults
from vertebra.tasks.loading.formats import Source, find_sources


def xml(name="0001.jpg", objects=(("cat", (11, 21, 30, 40), 0),), database="Unknown", size=(100, 50)):
    boxes = "".join(
        f"<object><name>{label}</name><difficult>{difficult}</difficult><bndbox>"
        + "".join(f"<{tag}>{value}</{tag}>" for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
        + "</bndbox></object>"
        for label, box, difficult in objects
    )
    return (
        f"<annotation><filename>{name}</filename><source><database>{database}</database></source>"
        f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>{boxes}</annotation>"
    )


@pytest.fixture
def tree(tmp_path):
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("0001", "0002"):
        Image.new("RGB", (100, 50)).save(tmp_path / "JPEGImages" / f"{name}.jpg")
    (tmp_path / "Annotations/0001.xml").write_text(xml())
    (tmp_path / "Annotations/0002.xml").write_text(
        xml("stale.jpg", [("dog", (1, 1, 100, 50), 1), ("bird", (5, 5, 6, 6), 0)])
    )
    (tmp_path / "ImageSets/Main/train.txt").write_text("0002\n0001\n\n")
    return tmp_path


def test_list(tree):
    annotations, found = read_annotations(tree / "ImageSets/Main/train.txt")
    assert found == []
    assert annotations.class_names == ("bird", "cat", "dog")
    assert annotations.files.tolist() == [str(tree / f"JPEGImages/{name}.jpg") for name in ("0002", "0001")]
    assert annotations.sizes.tolist() == [[50, 100]] * 2
    assert annotations.instances.labels.tolist() == [3, 1, 2]
    assert annotations.instances.crowd.tolist() == [True, False, False]
    assert annotations.starts.tolist() == [0, 2, 3]
    assert annotations.instances.boxes[2].tolist() == [11, 21, 30, 40]
    assert annotations.instances.areas[2] == 19 * 19


def test_official_files_count_pixels_from_one(tree):
    (tree / "Annotations/0001.xml").write_text(
        xml(objects=[("cat", (1, 1, 100, 50), 0), ("cat", (7, 7, 7, 7), 0)], database="The VOC2007 Database")
    )
    annotations, found = read_voc(tree / "ImageSets/Main/train.txt")
    assert found == []
    assert annotations.instances.boxes[2:].tolist() == [[0, 0, 100, 50], [6, 6, 7, 7]]


def test_list_of_one_class(tree):
    (tree / "ImageSets/Main/cat_train.txt").write_text("0001  1\n0002 -1\n")
    annotations, found = read_voc(tree / "ImageSets/Main/cat_train.txt")
    assert (len(annotations), found) == (2, [])
    assert find_sources(FORMATS, Source(tree), None) == [Source(tree / "ImageSets/Main/train.txt")]


def test_flat_folder_with_images_beside_or_in_a_sibling(tree):
    assert read_annotations(tree / "Annotations")[0].files[0] == str(tree / "JPEGImages/0001.jpg")
    beside = tree / "Annotations" / "0001.png"
    Image.new("RGB", (100, 50)).save(beside)
    annotations, found = read_annotations(tree / "Annotations")
    assert annotations.files.tolist() == [str(beside), str(tree / "JPEGImages/0002.jpg")]
    assert found == []


def test_image_by_filename(tree):
    (tree / "Annotations/other.xml").write_text(xml("0001.jpg"))
    annotations, found = read_voc(tree / "Annotations")
    assert annotations.files[2] == str(tree / "JPEGImages/0001.jpg")
    assert [fault.kind for fault in found] == [faults.DUPLICATE_FILE]


def test_names_of_the_training_split_number_the_labels(tree):
    annotations, found = read_voc(tree / "Annotations", class_names=("dog", "cat"))
    assert annotations.instances.labels.tolist() == [2, 1]
    assert annotations.category_ids.tolist() == [1, 2]
    assert [fault.kind for fault in found] == [faults.UNKNOWN_CATEGORY]
    assert str(found[0]).startswith(f"{tree}/Annotations/0002.xml: image '0002.jpg', object 2: category 'bird'")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (xml(objects=[("cat", (5, 5, 5, 9), 0)]), faults.DEGENERATE_BOX),
        (xml(objects=[("cat", (5, 5, "", 9), 0)]), faults.DEGENERATE_BOX),
        (xml(objects=[("cat", (101, 5, 120, 9), 0)]), faults.OUTSIDE_BOX),
        (xml(objects=[("cat", (90, 5, 102, 9), 0)]), faults.BOX_OVER_BORDER),
        (xml(objects=[("", (5, 5, 9, 9), 0)]), faults.UNKNOWN_CATEGORY),
        ("<annotation><object></annotation>", faults.UNREADABLE_ANNOTATIONS),
        ("", faults.UNREADABLE_ANNOTATIONS),
        (None, faults.MISSING_FILE),
    ],
)
def test_faults(tree, text, kind):
    file = tree / "Annotations/0001.xml"
    file.unlink() if text is None else file.write_text(text)
    annotations, found = read_voc(tree / "ImageSets/Main/train.txt")
    assert [(fault.kind, fault.file) for fault in found] == [(kind, str(file))]
    assert len(annotations.instances.boxes) == (3 if kind == faults.BOX_OVER_BORDER else 2)


def test_nothing_to_read(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        read_voc(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"has no \*.xml"):
        read_voc(tmp_path)
    (tmp_path / "train.txt").write_text("\n")
    with pytest.raises(ValueError, match="lists no image"):
        read_voc(tmp_path / "train.txt")


@pytest.mark.parametrize(
    "polygon",
    [
        "<x1>10</x1><y1>5</y1><x2>30</x2><y2>5</y2><x3>20</x3><y3>40</y3>",
        "<pt><x>10</x><y>5</y></pt><pt><x>30</x><y>5</y></pt><pt><x>20</x><y>40</y></pt>",
    ],
)
def test_a_polygon_has_a_box_around_it(tree, polygon):
    text = f"<annotation><object><name>cat</name><polygon>{polygon}</polygon></object></annotation>"
    (tree / "Annotations/0001.xml").write_text(text)
    annotations, found = read_voc(tree / "ImageSets/Main/train.txt")
    assert found == []
    assert annotations.instances.boxes[2].tolist() == [10, 5, 30, 40]
    assert annotations.sizes.tolist() == [[50, 100]] * 2  # by the image, since the XML does not say


def test_two_images_of_one_file_are_named_unless_it_says_which(tree):
    Image.new("RGB", (100, 50)).save(tree / "JPEGImages/0001.png")
    assert read_voc(tree / "Annotations")[0].files[0] == str(tree / "JPEGImages/0001.jpg")
    assert read_voc(tree / "Annotations")[1] == []
    (tree / "Annotations/0001.xml").write_text(xml("old.jpg"))
    _, found = read_voc(tree / "Annotations")
    assert [(fault.kind, fault.file) for fault in found] == [(faults.SHARED_LABELS, f"{tree}/Annotations/0001.xml")]
    assert "is of 0001.jpg and of 0001.png, too" in found[0].message


def test_hidden_files_are_no_data(tree):
    (tree / "Annotations/._0001.xml").write_bytes(b"\x00\x05\x16\x07")
    (tree / "JPEGImages/._0001.jpg").write_bytes(b"\x00\x05\x16\x07")
    annotations, found = read_voc(tree / "Annotations")
    assert (len(annotations), found) == (2, [])


def test_names_that_leave_the_data_set_are_not_opened(tree):
    (tree / "Annotations/other.xml").write_text(xml("../../../../../../../../dev/zero"))
    (tree / "ImageSets/Main/train.txt").write_text("0001\n../../../../../../../../etc/passwd\nother\n")
    annotations, found = read_voc(tree / "ImageSets/Main/train.txt")
    assert [fault.kind for fault in found] == [faults.OUTSIDE_ROOT] * 2
    assert "etc/passwd.xml, which is outside of" in found[0].message
    assert found[1].file == str(tree / "Annotations/other.xml")
    assert len(annotations) == 1


def test_a_list_of_yolo_is_refused_by_its_name(tree):
    (tree / "ImageSets/Main/train.txt").write_text("images/0001.jpg\nimages/0002.jpg\n")
    with pytest.raises(ValueError, match=r"lists paths of images, .* as YOLO's lists do.* data\.yaml"):
        read_voc(tree / "ImageSets/Main/train.txt")
