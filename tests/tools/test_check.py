import json
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from vertebra.tasks.loading.coco import content
from vertebra.tools.check import main
from vertebra.tools.checks.finders import FINDERS
from vertebra.tools.checks.format_names import format_names


def noise(seed, size=(50, 100)):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8))


def box(number, image, bbox=(10, 10, 20, 20), category=1):
    return {"id": number, "image_id": image, "category_id": category, "bbox": list(bbox)}


def write_coco(file, names, annotations, size=(50, 100)):
    content = {
        "images": [{"id": i, "file_name": n, "height": size[0], "width": size[1]} for i, n in enumerate(names)],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }
    file.write_text(json.dumps(content))
    return str(file)


@pytest.fixture
def images(tmp_path):
    (tmp_path / "images").mkdir()
    for i in range(3):
        noise(i).save(tmp_path / f"images/{i}.jpg")
    return tmp_path / "images"


def kinds(output):
    return Counter(line[line.rindex("[") + 1 : -1] for line in output.splitlines() if line.endswith("]"))


def test_sound_data(tmp_path, images, capsys):
    file = write_coco(tmp_path / "train.json", ["0.jpg", "1.jpg"], [box(1, 0), box(2, 0, category=2), box(3, 1)])
    assert main([file]) == 0
    captured = capsys.readouterr()
    assert "2 images, 3 boxes: cat 2, dog 1" in captured.out
    assert "faults in all: 0" in captured.out
    assert captured.err == ""


def test_every_planted_fault_is_found(tmp_path, images, capsys):
    whole = (images / "0.jpg").read_bytes()
    (images / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (images / "text.jpg").write_text("404 not found")
    rotated = Image.Exif()
    rotated[0x0112] = 6
    noise(4).save(images / "rotated.jpg", exif=rotated)
    noise(5, (60, 60)).save(images / "small.jpg")
    names = ["0.jpg", "cut.jpg", "text.jpg", "gone.jpg", "rotated.jpg", "small.jpg", "0.jpg"]
    bad = [
        box(1, 0, (5, 5, 0, 5)),
        box(2, 0, (200, 5, 5, 5)),
        box(3, 0, (90, 5, 15, 5)),
        box(4, 0, category=7),
        box(5, 99),
        box(6, 0),
        box(6, 0),
    ]
    assert main([write_coco(tmp_path / "train.json", names, bad)]) == 1
    output = capsys.readouterr().out
    assert kinds(output) == {
        "missing file": 1,
        "unreadable image": 2,
        "size mismatch": 1,
        "EXIF rotation": 1,
        "degenerate box": 1,
        "outside box": 1,
        "box over the border": 1,
        "unknown category": 1,
        "unknown image": 1,
        "duplicate id": 1,
        "duplicate box": 1,
        "duplicate file name": 1,
    }
    assert "faults in all: 13" in output
    assert f"{images}/gone.jpg: the image does not exist" in output
    assert f"{images}/cut.jpg: cannot be decoded: image file is truncated" in output
    rotated_line = next(line for line in output.splitlines() if "rotated.jpg" in line)
    assert "100 x 50" in rotated_line
    assert "50 x 100" in rotated_line
    assert "EXIF rotation" in rotated_line
    assert "EXIF" not in next(line for line in output.splitlines() if "small.jpg" in line)


def test_leaks_between_paths_by_path_and_by_content(tmp_path, images, capsys):
    (images / "copy.jpg").write_bytes((images / "1.jpg").read_bytes())
    train = write_coco(tmp_path / "train.json", ["0.jpg", "1.jpg"], [])
    val = write_coco(tmp_path / "val.json", ["0.jpg", "2.jpg", "copy.jpg"], [])
    assert main([train, val]) == 1
    output = capsys.readouterr().out
    assert kinds(output) == {"leak": 2}
    assert f"{images}/0.jpg: is in {train} and in {val}" in output
    assert f"{images}/copy.jpg: of {val} has the same bytes as {images}/1.jpg of {train}" in output
    assert main([str(tmp_path)]) == 0  # the files of one folder may overlap, as VOC's train and trainval do


def test_every_split_of_a_yolo_data_set(tmp_path, images, capsys):
    (tmp_path / "data.yaml").write_text("train: images\nval: images\nnames: [cat]")
    (tmp_path / "labels").mkdir()
    for i in range(3):
        (tmp_path / f"labels/{i}.txt").write_text("0 .5 .5 .2 .2")
    assert main([str(tmp_path)]) == 1
    assert kinds(capsys.readouterr().out) == {"leak": 3}
    assert main([str(tmp_path), "--split", "val"]) == 0


def test_a_class_that_training_lacks_is_named(tmp_path, images, capsys):
    train = write_coco(tmp_path / "train.json", ["0.jpg"], [box(1, 0)])
    val = write_coco(tmp_path / "val.json", ["1.jpg"], [box(1, 0), box(2, 0, (20, 5, 9, 9), 2)])
    for arguments in ([train, val], [val, train], [str(tmp_path)]):
        assert main(arguments) == 1
        output = capsys.readouterr().out
        assert kinds(output) == {"class that training lacks": 1}
        assert f"{val}: class 'dog' has 1 boxes here and none in {train}" in output
    assert main([val]) == 0


def test_unreadable_annotations_do_not_stop_the_others(tmp_path, images, capsys):
    (tmp_path / "broken.json").write_text('{"images": [}')
    lost = write_coco(tmp_path / "lost.json", ["gone.jpg"], [])
    sound = write_coco(tmp_path / "sound.json", ["0.jpg"], [])
    assert main([str(tmp_path / "broken.json"), lost, sound]) == 1
    output = capsys.readouterr().out
    assert f"{tmp_path}/broken.json: line 1, column 13" in output
    assert kinds(output) == {"unreadable annotations": 1, "missing file": 1}
    assert "1 images" in output
    assert main([lost, "--images", str(images)]) == 1
    assert f"{images}/gone.jpg: the image does not exist" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [[], ["nowhere"], ["."], ["bytes.csv"], ["data.json", "--images", "nowhere"], ["data.json", "--split", "dev"]],
)
def test_wrong_calls(tmp_path, monkeypatch, capsys, arguments):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.json").write_text("{}")
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(SystemExit) as leaving:
        main(arguments)
    assert leaving.value.code == 2
    assert "vertebra check: error" in capsys.readouterr().err


def test_interrupt_is_clean(tmp_path, images, monkeypatch, capsys):
    def interrupt(file, pixels):
        raise KeyboardInterrupt

    monkeypatch.setattr("vertebra.tasks.detection.check.decode_image", interrupt)
    assert main([write_coco(tmp_path / "train.json", ["0.jpg", "1.jpg"], [])]) == 130
    assert "interrupted" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("vertebra.tools.check", ["numpy", "torch", "PIL", "rich", "tasks"]),
        # data sets of all tasks are searched, read and checked without what only training needs
        (
            "vertebra.tools.autoconfig.recipes, vertebra.tools.autoconfig.early_reading",
            ["torch", "lightning", "albumentations", "monai", "scipy", "matplotlib"],
        ),
    ],
)
def test_import_is_light(module, heavy):
    code = f"import sys, {module}; sys.exit(str(sorted(set({heavy}) & set(sys.modules)) or ''))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stderr.strip() == ""


def test_boxes_and_outlines_are_read_with_the_same_ids(tmp_path, images, capsys):
    file = write_coco(tmp_path / "train.json", ["0.jpg"], [box(1, 0, (5, 5, 0, 5)), box(2, 0)])
    content = json.loads((tmp_path / "train.json").read_text())
    content["images"][0]["id"] = "0"  # read as the number that it is
    (tmp_path / "train.json").write_text(json.dumps(content))
    assert main([file]) == 1
    output = capsys.readouterr().out
    assert kinds(output) == {"degenerate box": 1}
    assert "1 boxes: cat 1, dog 0; no outlines, which segmentation needs" in output


def test_repeats_of_a_fault_are_counted_after_three(tmp_path, images, capsys):
    file = write_coco(tmp_path / "train.json", ["0.jpg"], [box(i, 0, (5 + i, 5, 0, 5)) for i in range(7)])
    assert main([file]) == 1
    output = capsys.readouterr().out
    assert kinds(output) == {"degenerate box": 3}
    assert "... and 4 more: degenerate box (--all lists them)" in output
    assert "faults: degenerate box 7" in output
    assert main([file, "--all"]) == 1
    assert kinds(capsys.readouterr().out) == {"degenerate box": 7}


def test_one_folder_of_images_for_the_masks_of_all_splits(tmp_path, images, capsys):
    (tmp_path / "classes.txt").write_text("background\ncat\n")
    for split, numbers in {"train": (0, 1), "val": (2,)}.items():
        (tmp_path / "masks" / split).mkdir(parents=True)
        for i in numbers:
            mask = np.random.default_rng(i).integers(0, 2, (50, 100), dtype=np.uint8)
            Image.fromarray(mask).save(tmp_path / f"masks/{split}/{i}.png")
    assert main([str(tmp_path)]) == 0
    assert "2 images" in capsys.readouterr().out
    noise(7).save(images / "7.jpg")  # of no split
    assert main([str(tmp_path)]) == 1
    assert "7.jpg: has no mask" in capsys.readouterr().out


def test_a_coco_file_is_parsed_once(tmp_path, images, monkeypatch):
    outline = [[10, 10, 30, 10, 30, 30]]
    file = write_coco(tmp_path / "set.json", ["0.jpg"], [{**box(1, 0), "segmentation": outline}])
    parsed = []
    parse = content._parse
    monkeypatch.setattr(content, "_parse", lambda file: parsed.append(file) or parse(file))
    assert main([file]) == 0
    assert len(parsed) == 1
    write_coco(tmp_path / "set.json", ["0.jpg", "1.jpg"], [box(1, 0)])
    assert main([file]) == 0
    assert len(parsed) == 2  # the content of a file that changed is not kept


def test_the_help_lists_the_formats_of_the_tables():
    for finder in FINDERS:
        assert format_names(finder.task) == tuple(each.name for each in finder.formats)


def test_a_data_set_without_a_training_split_has_a_fault_and_a_split_of_its_own_none(tmp_path, images, capsys):
    (tmp_path / "set").mkdir()
    file = write_coco(tmp_path / "set/val.json", ["0.jpg"], [box(1, 0)])
    flags = ["--images", str(images)]
    assert main([str(tmp_path / "set"), *flags]) == 1
    output = capsys.readouterr().out
    assert f"set: has the split val only; expected one to train on. Add it, or give the path of that split: {file}" in (
        output
    )
    assert kinds(output) == {"no training split": 1}
    assert main([file, *flags]) == 0
    write_coco(tmp_path / "set/test.json", ["1.jpg"], [box(1, 0)])
    assert main([str(tmp_path / "set"), *flags]) == 1
    assert "has the splits test and val only" in capsys.readouterr().out
    write_coco(tmp_path / "set/train.json", ["2.jpg"], [box(1, 0)])
    main([str(tmp_path / "set"), *flags])
    assert "no training split" not in capsys.readouterr().out
