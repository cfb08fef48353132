"""Annotation files that someone else wrote: each is a fault or a sentence that names the file, in check and in fit."""

import json
import os
import time

import numpy as np
import pytest
from PIL import Image

from vertebra.tasks.detection import DetectionData, Split
from vertebra.tasks.detection.formats import FORMATS, read_annotations
from vertebra.tasks.loading.files import faults
from vertebra.tasks.loading.formats import Source, find_sources
from vertebra.tools.check import main

BOMB = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 10))
XML = (
    "<annotation><size><width>40</width><height>30</height></size><object><name>cat</name><bndbox><xmin>1</xmin>"
    "<ymin>2</ymin><xmax>20</xmax><ymax>25</ymax></bndbox></object></annotation>"
)


@pytest.fixture
def root(tmp_path):
    for folder in ("images", "labels", "xml"):
        (tmp_path / folder).mkdir()
    for i in range(2):
        Image.fromarray(np.full((30, 40, 3), 90 * i, dtype=np.uint8)).save(tmp_path / f"images/{i}.png")
        (tmp_path / f"labels/{i}.txt").write_text("0 .5 .5 .5 .5\n")
        (tmp_path / f"xml/{i}.xml").write_text(XML)
    (tmp_path / "data.yaml").write_text("train: images\nnames: [cat, dog]\n")
    (tmp_path / "a.json").write_text(json.dumps(content()))
    return tmp_path


def content():
    return {
        "images": [{"id": i, "file_name": f"{i}.png", "width": 40, "height": 30} for i in range(2)],
        "annotations": [{"id": 5 + i, "image_id": i, "category_id": 1, "bbox": [1, 2, 10, 9]} for i in range(2)],
        "categories": [{"id": 1, "name": "cat"}],
    }


def coco(change):
    def write(root):
        data = content()
        text = change(data)
        (root / "a.json").write_text(json.dumps(data) if text is None else text)

    return "a.json", write


def image(**fields):
    return coco(lambda data: data["images"][0].update(fields))


def annotation(**fields):
    return coco(lambda data: data["annotations"][0].update(fields))


def outline(segmentation):
    def change(data):
        del data["annotations"][0]["bbox"]
        data["annotations"][0]["segmentation"] = segmentation

    return coco(change)


def category(**fields):
    return coco(lambda data: data["categories"][0].update(fields))


def voc(text):
    return "xml", lambda root: (root / "xml/0.xml").write_bytes(text if isinstance(text, bytes) else text.encode())


def label(data):
    return "data.yaml", lambda root: (root / "labels/0.txt").write_bytes(data)


def dataset(text):
    return "data.yaml", lambda root: (root / "data.yaml").write_bytes(
        text if isinstance(text, bytes) else text.encode()
    )


def folder_as_label(root):
    (root / "labels/0.txt").unlink()
    (root / "labels/0.txt").mkdir()


def pipe_as_label(root):
    (root / "labels/0.txt").unlink()
    os.mkfifo(root / "labels/0.txt")


UNREADABLE, DEGENERATE = faults.UNREADABLE_ANNOTATIONS, faults.DEGENERATE_BOX
NESTED = '{"images": ' + "[" * 100_000 + "]" * 100_000 + "}"
REFUSED = {
    "nesting": (coco(lambda data: NESTED), UNREADABLE, "nested deeper"),
    "long integer": (
        coco(lambda data: json.dumps(data).replace('"id": 5', f'"id": {"9" * 5000}')),
        UNREADABLE,
        "digits",
    ),
    "image id over int64": (image(id=2**64), UNREADABLE, "has the id 18446744073709551616; expected"),
    "annotation id over int64": (annotation(id=-(2**70)), UNREADABLE, "expected a whole number below 2^63"),
    "category id over int64": (category(id=2**63), UNREADABLE, "expected a whole number below 2^63"),
    "not a number as id": (image(id=float("nan")), UNREADABLE, "has the id nan"),
    "list as file name": (image(file_name=["0.png"]), UNREADABLE, "has the file_name"),
    "HTML for JSON": (coco(lambda data: "<!DOCTYPE html><p>404"), UNREADABLE, "line 1, column 1"),
    "empty JSON": (coco(lambda data: ""), UNREADABLE, "line 1, column 1"),
    "object as name": (category(name={"en": "cat"}), UNREADABLE, "categories[0] has the name"),
    "long name": (image(file_name="x" * 100_000 + ".png"), faults.MISSING_FILE, "which cannot be a path"),
    "name with a zero": (image(file_name="0\0.png"), faults.MISSING_FILE, "which cannot be a path"),
    "half a character": (image(file_name="\ud800.png"), faults.MISSING_FILE, "which cannot be a path"),
    "name of 300 letters": (image(file_name="x" * 300 + ".png"), faults.MISSING_FILE, "does not exist"),
    "path that leaves": (image(file_name="../../../etc/passwd"), faults.OUTSIDE_ROOT, "outside of"),
    "absolute path": (image(file_name="/dev/zero"), faults.OUTSIDE_ROOT, "refers to /dev/zero, which is outside of"),
    "null category name": (category(name=None), faults.EMPTY_NAME, "category 1 has the name None"),
    "blank category name": (category(name=" "), faults.EMPTY_NAME, "category 1 has the name ' '"),
    "HTML for a YAML": (dataset("<!DOCTYPE html>\n<p>a: b: c"), UNREADABLE, "data.yaml"),
    "binary YAML": (dataset(b"\x00\x01\x02"), UNREADABLE, "expected text in UTF-8"),
    "UTF-16 YAML": (dataset("names: [cat]".encode("utf-16")), UNREADABLE, "text in UTF-16"),
    "nested YAML": (dataset("names: " + "[" * 500_000), UNREADABLE, "nested deeper than 100"),
    "indented YAML": (dataset("- " * 50_000), UNREADABLE, "recursion"),
    "YAML bomb": (
        dataset(
            "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
            + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))
            + "train: images\nnames: *a11\n"
        ),
        UNREADABLE,
        "name 0 is [",
    ),
    "YAML that runs code": (
        dataset("names: !!python/object/apply:os.system [exit]"),
        UNREADABLE,
        "could not determine",
    ),
    "a key twice": (dataset("train: images\nnames: {0: cat, 0: dog}"), UNREADABLE, "the key '0' occurs twice"),
    "null in names": (dataset("train: images\nnames: [cat, null]"), faults.EMPTY_NAME, "class 1 has no name"),
    "no and yes": (dataset("train: images\nnames: [yes, no]"), UNREADABLE, "name 0 is True (YAML reads yes"),
    "names twice": (dataset("train: images\nnames: [cat, cat]"), faults.DUPLICATE_CATEGORY, "the classes [0, 1]"),
    "another nc": (dataset("train: images\nnc: 3\nnames: [cat, dog]"), faults.CLASS_COUNT, "nc is 3, but there are 2"),
    "split that leaves": (dataset(f"train: {'../' * 20}etc\nnames: [cat]"), faults.OUTSIDE_ROOT, "refers to /etc"),
    "label folder": (("data.yaml", folder_as_label), UNREADABLE, "is a folder; expected a file"),
    "label pipe": (("data.yaml", pipe_as_label), UNREADABLE, "is a device or a pipe"),
    "binary label": (label(b"\x89PNG\r\n\x1a\n\x00\x00\xff"), UNREADABLE, "is not text"),
    "UTF-16 label": (label("0 .5 .5 .5 .5".encode("utf-16")), UNREADABLE, "text in UTF-16"),
    "class of 5000 digits": (label(b"9" * 5000 + b" .5 .5 .5 .5"), faults.UNKNOWN_CATEGORY, "is not among: cat, dog"),
    "entity bomb": (
        voc(f"<!DOCTYPE a [<!ENTITY e0 'x'>{BOMB}]><annotation>&e9;</annotation>"),
        UNREADABLE,
        "entity e0",
    ),
    "external entity": (
        voc('<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation>&x;</annotation>'),
        UNREADABLE,
        "declares the entity x",
    ),
    "HTML for XML": (voc("<html><body><p>404 not found</p></body></html>"), UNREADABLE, "is XML of <html>"),
    "broken HTML for XML": (voc("<!DOCTYPE html><p>404<br>"), UNREADABLE, "cannot be read"),
    "binary XML": (voc(b"\x00\x01\xff"), UNREADABLE, "cannot be read"),
}
REPAIRED = {
    "two boxes in an object": (voc(XML.replace("<bndbox>", "<bndbox/><bndbox>")), DEGENERATE, "it has 2 bndbox"),
    "infinite width": (
        image(width=float("inf")),
        faults.UNUSABLE_SIZE,
        "its width is inf; expected a number of pixels",
    ),
    "huge height": (image(height=1e300), faults.UNUSABLE_SIZE, "its height is 1e+300"),
    "negative width": (image(width=-40), faults.UNUSABLE_SIZE, "its width is -40"),
    "text as width": (image(width="40"), faults.UNUSABLE_SIZE, "its width is '40'"),
    "null width": (image(width=None), faults.UNUSABLE_SIZE, "its width is None"),
    "not a number as width": (image(width=float("nan")), faults.UNUSABLE_SIZE, "its width is nan"),
    "texts as box": (
        annotation(bbox=["1", "2", "3", "4"]),
        DEGENERATE,
        "annotation 5: the box is ['1', '2', '3', '4']",
    ),
    "box over float": (annotation(bbox=[1, 2, 10**400, 4]), DEGENERATE, "annotation 5: the box is [1, 2, "),
    "not a number in a box": (annotation(bbox=[1, 2, float("nan"), 4]), DEGENERATE, "the box is [1, 2, nan, 4]"),
    "box twice": (
        coco(lambda data: data["annotations"].append(data["annotations"][0] | {"id": 9})),
        faults.DUPLICATE_BOX,
        "annotation 9: the box (x1 1, y1 2, x2 11, y2 11) of class 'cat' is the same as that of annotation 5",
    ),
    "run lengths of huge size": (
        outline({"size": [10**9, 10**9], "counts": [10**18]}),
        DEGENERATE,
        "annotation 5: it has",
    ),
    "run lengths of negative size": (
        outline({"size": [-30, -40], "counts": [1200]}),
        DEGENERATE,
        "its size is [-30, -40]",
    ),
    "run lengths past the end": (outline({"size": [30, 40], "counts": "PPPP"}), DEGENERATE, "end within a number"),
    "run lengths of another size": (
        outline({"size": [40, 30], "counts": [600, 600]}),
        DEGENERATE,
        "its size is 40 x 30, that of the image 30 x 40",
    ),
    "empty mask": (outline({"size": [30, 40], "counts": [1200]}), DEGENERATE, "its mask has no pixel"),
    "polygon of two corners": (
        outline([[1, 2, 3, 4]]),
        DEGENERATE,
        "a polygon is [1, 2, 3, 4]; expected x and y of three",
    ),
    "polygon of texts": (outline([["1", "2", "3", "4", "5", "6"]]), DEGENERATE, "a polygon is ['1'"),
    "neither box nor outline": (outline([]), DEGENERATE, "it has no bbox and no segmentation"),
    "infinite size": (voc(XML.replace(">40<", ">inf<")), faults.UNUSABLE_SIZE, "its size is 'inf' x '30'"),
    "huge size": (voc(XML.replace(">40<", ">1e300<")), faults.UNUSABLE_SIZE, "its size is '1e300' x '30'"),
    "two sizes": (
        voc(XML.replace("<size>", "<size><width>9</width><height>9</height></size><size>")),
        faults.UNUSABLE_SIZE,
        "it has 2 sizes that differ",
    ),
    "no bndbox": (
        voc(XML.replace("bndbox", "robndbox")),
        DEGENERATE,
        "object 1: it has no bndbox among name, robndbox",
    ),
    "words in a bndbox": (
        voc(XML.replace(">20<", ">twenty<")),
        DEGENERATE,
        "its bndbox has xmin '1', ymin '2', xmax 'tw",
    ),
    "line twice": (label(b"0 .5 .5 .5 .5\n1 .5 .5 .5 .5\n0 .5 .5 .5 .5\n"), faults.DUPLICATE_BOX, "line 3: the box"),
    "confidence": (label(b"0 .5 .5 .5 .5 .87\n"), faults.CONFIDENCE, "1 of 2 lines have a confidence behind the box"),
    "angle": (label(b"0 .5 .5 .5 .5 45\n"), DEGENERATE, "45 is no confidence in 0..1"),
    "tracked": (label(b"0 .5 .5 .5 .5 .9 17\n"), DEGENERATE, "17 is no corner in 0..1"),
    "pixels": (label(b"0 20 15 10 10\n"), faults.OUTSIDE_BOX, "Its numbers look like pixels"),
    "infinite fractions": (label(b"0 .5 .5 inf .5\n"), DEGENERATE, "not four finite numbers"),
    "keypoints": (label(b"0 .5 .5 .5 .5 .1 .1 2\n"), DEGENERATE, "7 numbers behind the class; .* kpt_shape"),
}


def read_as_fit(root, source):
    return DetectionData(str(root), train=Split(source)).records("train")


def listed(capsys):
    return [line for line in capsys.readouterr().out.splitlines() if line.endswith("]")]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [*REFUSED, *REPAIRED])
def test_check_names_it_and_fit_refuses_what_it_cannot_use(root, capsys, name):
    (source, write), kind, message = (REFUSED | REPAIRED)[name]
    write(root)
    begun = time.process_time()
    assert main([str(root / source)]) == 1
    lines = [line for line in listed(capsys) if line.endswith(f"[{kind}]")]
    assert len(lines) == 1, lines
    assert lines[0].startswith(str(root))
    assert len(lines[0]) < 1000
    assert all(part in lines[0] for part in message.split(".*"))
    if name in REFUSED:
        with pytest.raises((ValueError, FileNotFoundError), match=str(root)) as refused:
            read_as_fit(root, source)
        assert len(str(refused.value)) < 1000
    else:
        with pytest.warns(UserWarning, match=f" {kind}; `vertebra check` lists them"):
            assert len(read_as_fit(root, source).instances.boxes)
    assert time.process_time() - begun < 10


def test_sound_files_have_no_fault(root, capsys):
    for source in ("a.json", "data.yaml", "xml"):
        assert main([str(root / source)]) == 0
        assert len(read_as_fit(root, source).instances.boxes) == 2


def test_a_byte_order_mark_does_no_harm(root):
    for file in (root / "a.json", root / "data.yaml", root / "labels/0.txt", root / "xml/0.xml"):
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    test_sound_files_have_no_fault(root, None)


def test_deeply_nested_xml_is_read(root):
    (root / "xml/0.xml").write_text(XML.replace("<object>", "<a>" * 100_000 + "</a>" * 100_000 + "<object>"))
    assert len(read_as_fit(root, "xml").instances.boxes) == 2


def test_names_of_a_million_classes_are_not_written_for_each_box(root, capsys):
    data = content()
    data["categories"] = [{"id": i, "name": f"class {i}"} for i in range(2000)]
    data["annotations"] = [data["annotations"][0] | {"id": i, "category_id": 10**6} for i in range(2000)]
    (root / "a.json").write_text(json.dumps(data))
    _, found = read_annotations(root / "a.json")
    assert sum(len(fault.message) for fault in found) < 2000 * 500
    assert "class 19, ... (2000 in all)" in found[0].message


@pytest.mark.parametrize("name", ["a.json", "pipe.json"])
def test_a_folder_and_a_pipe_are_no_annotation_files(tmp_path, name):
    os.mkfifo(tmp_path / name) if name == "pipe.json" else (tmp_path / name).mkdir()
    assert find_sources(FORMATS, Source(tmp_path), None) == []
