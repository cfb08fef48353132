import json
import warnings

import albumentations as A
import numpy as np
import pytest
from PIL import Image

from vertebra.tasks.detection import DetectionData, Split
from vertebra.tasks.detection.transforms import Resize

NAMES = {4: "cat", 9: "dog"}


def write_coco(root, split="train", boxes=((4, [5, 5, 20, 10]), (9, [1, 1, 30, 20])), names=NAMES):
    """Write four images of 40 x 60 pixels, and all boxes on each of them; return the JSON's content."""
    (root / split).mkdir(parents=True)
    images = []
    for i in range(4):
        name = f"{i}.jpg"
        Image.fromarray(np.full((40, 60, 3), 50 * i, dtype=np.uint8)).save(root / split / name)
        images.append({"id": i + 1, "file_name": name, "height": 40, "width": 60})
    annotations = [
        {"id": 10 * image["id"] + j, "image_id": image["id"], "category_id": category, "bbox": box}
        for image in images
        for j, (category, box) in enumerate(boxes)
    ]
    categories = [{"id": number, "name": name} for number, name in names.items()]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / f"{split}.json").write_text(json.dumps(content))


def data(root, **options):
    options = {"train": Split("train.json", "train"), "val": Split("val.json", "val")} | options
    return DetectionData(str(root), resize=Resize((32,)), batch_size=2, num_workers=0, **options)


@pytest.fixture
def root(tmp_path):
    write_coco(tmp_path, "train")
    write_coco(tmp_path, "val")
    return tmp_path


def labels_of(batch):
    return [row[row > 0].tolist() for row in batch.targets.labels]


def test_training_batches(root):
    batches = list(data(root).train_dataloader())
    assert sorted(source.image_id for batch in batches for source in batch.sources) == [1, 2, 3, 4]
    assert [batch.images.shape for batch in batches] == [(2, 3, 32, 64)] * 2
    assert all(labels_of(batch) == [[1, 2]] * 2 for batch in batches)


def test_evaluation_batches_are_in_order(root):
    batches = list(data(root, test=Split("train.json", "train")).val_dataloader())
    assert [source.image_id for batch in batches for source in batch.sources] == [1, 2, 3, 4]
    tested = data(root, test=Split("train.json", "train")).test_dataloader()
    assert "/train/" in next(iter(tested)).sources[0].file


def test_classes_come_from_the_training_file(tmp_path):
    write_coco(tmp_path, "train")
    write_coco(tmp_path, "val", boxes=((1, [5, 5, 20, 10]),), names={1: "dog", 2: "cat"})
    loaded = data(tmp_path)
    assert loaded.class_names == ("cat", "dog")
    assert loaded.num_classes == 2
    batch = next(iter(loaded.val_dataloader()))
    assert labels_of(batch) == [[2], [2]]  # the validation file's first is the training file's second


def test_a_class_that_training_does_not_know_is_refused(tmp_path):
    write_coco(tmp_path, "train")
    write_coco(tmp_path, "val", boxes=((5, [5, 5, 20, 10]),), names={5: "horse"})
    with pytest.raises(ValueError, match=r"val\.json: image '0\.jpg'.*'horse' is not among: cat, dog.*and 3 more"):
        data(tmp_path).val_dataloader()


def test_a_class_that_training_has_no_box_of_is_warned(tmp_path):
    write_coco(tmp_path, "train", boxes=((4, [5, 5, 20, 10]),))
    write_coco(tmp_path, "val")
    with pytest.warns(UserWarning, match=r"val\.json: kept 1 x class that training lacks"):
        data(tmp_path).val_dataloader()


def test_names_can_be_given(root):
    assert data(root, train=None, class_names=["dog", "cat"]).class_names == ("dog", "cat")


def test_a_split_that_is_not_given_is_named(root):
    with pytest.raises(ValueError, match=r"data\.test is not given; set --data\.test\.annotations"):
        data(root).test_dataloader()


def test_dropped_boxes_are_warned_once_a_file(tmp_path):
    write_coco(
        tmp_path, "train", boxes=((4, [5, 5, 20, 10]), (4, [5, 5, 0, 10]), (9, [70, 5, 9, 9]), (9, [50, 5, 20, 9]))
    )
    loaded = data(tmp_path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        annotations = loaded.records("train")
        loaded.records("train")
        loaded.train_dataloader()
    messages = sorted(str(warning.message) for warning in caught if "train.json" in str(warning.message))
    assert len(messages) == 3
    assert "clipped 4 x box over the border" in messages[0]
    assert "dropped 4 x degenerate box" in messages[1]
    assert "dropped 4 x outside box" in messages[2]
    assert annotations.instances.boxes.tolist() == [[5, 5, 25, 15], [50, 5, 60, 14]] * 4


def test_a_missing_image_is_an_error_that_names_it(root):
    (root / "train" / "2.jpg").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"1 of 4 files do not exist, the first is .*2\.jpg.*data\.missing=skip"
    ):
        data(root).train_dataloader()


def test_a_missing_image_can_be_left_out(root):
    for split in ("train", "val"):
        (root / split / "2.jpg").unlink()
    loaded = data(root, missing="skip")
    with pytest.warns(UserWarning, match=r"left out 1 files that do not exist, the first is .*2\.jpg"):
        trained, measured = list(loaded.train_dataloader()), list(loaded.val_dataloader())
    assert [source.image_id for batch in measured for source in batch.sources] == [1, 2, 4]
    assert {source.image_id for batch in trained for source in batch.sources} == {1, 2, 4}
    assert [len(batch.sources) for batch in trained] == [2, 2]  # one comes twice: no batch is of one image
    batches = [*trained, *measured]
    assert loaded.class_names == ("cat", "dog")
    assert all(len(source.truth.boxes) == 2 for batch in batches for source in batch.sources)


def test_a_broken_image_can_be_left_out(root):
    (root / "val" / "2.jpg").write_bytes(b"\xff\xd8 no image")
    with pytest.raises(ValueError, match=r"2\.jpg"):
        list(data(root).val_dataloader())
    batches = list(data(root, missing="skip").val_dataloader())
    assert [len(batch.images) for batch in batches] == [2, 1]
    assert "2.jpg" in batches[1].skipped[0]


def write_yolo(root):
    (root / "images").mkdir()
    (root / "labels").mkdir()
    for i in range(3):
        Image.fromarray(np.full((40, 60, 3), 50 * i, dtype=np.uint8)).save(root / "images" / f"{i}.jpg")
        (root / "labels" / f"{i}.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (root / "data.yaml").write_text("names: [cat]\ntrain: images\nval: images\n")


def write_voc(root):
    (root / "Annotations").mkdir()
    (root / "JPEGImages").mkdir()
    for i in range(3):
        Image.fromarray(np.full((40, 60, 3), 50 * i, dtype=np.uint8)).save(root / "JPEGImages" / f"{i}.jpg")
        box = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>20</xmax><ymax>30</ymax></bndbox>"
        size = "<size><width>60</width><height>40</height></size>"
        xml = f"<annotation>{size}<object><name>cat</name>{box}</object></annotation>"
        (root / "Annotations" / f"{i}.xml").write_text(xml)


SOURCES = [(write_yolo, "data.yaml", "images"), (write_voc, "Annotations", "JPEGImages")]


@pytest.mark.parametrize(("write", "source", "folder"), SOURCES)
def test_yolo_and_voc(tmp_path, write, source, folder):
    write(tmp_path)
    loaded = data(tmp_path, train=Split(source), val=Split(source))
    assert loaded.class_names == ("cat",)
    trained = list(loaded.train_dataloader())
    assert {source.image_id for batch in trained for source in batch.sources} == {1, 2, 3}
    assert [len(batch.images) for batch in trained] == [2, 2]  # one comes twice: no batch is of one image
    assert [labels_of(batch) for batch in loaded.val_dataloader()] == [[[1], [1]], [[1]]]


@pytest.mark.filterwarnings("ignore:left out")
@pytest.mark.parametrize("harm", ["missing", "broken"])
@pytest.mark.parametrize(("write", "source", "folder"), SOURCES)
def test_yolo_and_voc_can_leave_images_out_too(tmp_path, write, source, folder, harm):
    write(tmp_path)
    file = tmp_path / folder / "1.jpg"
    file.unlink() if harm == "missing" else file.write_bytes(b"no image")
    loaded = data(tmp_path, train=Split(source), val=Split(source), missing="skip")
    assert sum(len(batch.images) for batch in loaded.val_dataloader()) == 2


def test_nothing_to_train_on(root):
    for i in range(4):
        (root / "train" / f"{i}.jpg").unlink()
    (root / "train.json").write_text(json.dumps({"images": [], "annotations": [], "categories": []}))
    with pytest.raises(ValueError, match="holds no images to train on"):
        data(root).train_dataloader()


@pytest.mark.filterwarnings("ignore:no left-right flips")
@pytest.mark.parametrize(
    ("name", "chosen", "number"), [("dog", None, 1), ("dog", ["dog"], 0), ("left dog", None, 0), ("left dog", [], 1)]
)
def test_classes_of_a_side_are_not_flipped(tmp_path, name, chosen, number):
    for split in ("train", "val"):
        write_coco(tmp_path, split, names={4: "cat", 9: name})
    loader = data(tmp_path, augment=[A.HorizontalFlip()], no_flip_classes=chosen).train_dataloader()
    assert len(loader.dataset.augment.transforms) == number


def test_augmentation_is_for_training(root):
    flipped = data(root, augment=[A.HorizontalFlip(p=1)])
    training, evaluation = next(iter(flipped.train_dataloader())), next(iter(flipped.val_dataloader()))
    factor = evaluation.sources[0].factors[1]
    np.testing.assert_allclose(evaluation.targets.boxes[0, 0, [0, 2]] / factor, [5, 25], rtol=1e-4)
    np.testing.assert_allclose(training.targets.boxes[0, 0, [0, 2]] / factor, [35, 55], rtol=1e-4)


def test_left_right_flips_if_nothing_else_is_said(root):
    seen = {batch.targets.boxes[i, 0, 0].round().item() for batch in data(root).train_dataloader() for i in range(2)}
    still = data(root, augment=[]).train_dataloader()
    assert {batch.targets.boxes[i, 0, 0].round().item() for batch in still for i in range(2)} == {4}
    assert seen <= {4, 28}
    assert len(data(root).transforms) == 1


def test_prediction_leaves_broken_pictures_out(root):
    (root / "val" / "1.jpg").write_bytes(b"no image")
    loaded = data(root, train=None, class_names=["cat"], predict=[str(root / "val"), str(root / "train" / "0.jpg")])
    batches = list(loaded.predict_dataloader())
    assert [source.image_id for batch in batches for source in batch.sources] == [1, 3, 4, 5]
    assert all(source.truth.boxes.shape == (0, 4) for batch in batches for source in batch.sources)
    with pytest.raises(ValueError, match=r"data\.predict is empty; give files"):
        data(root).predict_dataloader()


def test_a_batch_is_padded_to_the_multiple_that_is_asked_for(root):
    def sizes(**options):
        made = data(root, **options)
        made.resize = Resize((40,))
        return {tuple(batch.images.shape[2:]) for batch in made.train_dataloader()}

    assert sizes() == {(64, 64)}  # from 40 x 60
    assert sizes(pad_to=128) == {(128, 128)}
    for wrong in (0, 48):
        with pytest.raises(ValueError, match=f"pad_to is {wrong}; .* multiple of 32"):
            data(root, pad_to=wrong)


def test_folds_and_the_draw_of_rare_categories(root):
    content = json.loads((root / "train.json").read_text())
    content["annotations"] = [one for one in content["annotations"] if one["category_id"] == 4 or one["image_id"] == 3]
    (root / "train.json").write_text(json.dumps(content))
    loaded = data(root, val=None, folds=2, fold=0, balance=0.5)
    train, val = loaded.records("train"), loaded.records("val")
    assert sorted([*train.image_ids.tolist(), *val.image_ids.tolist()]) == [1, 2, 3, 4]
    whole = data(root, balance=0.5)
    assert whole.classes_of(whole.records("train")).tolist() == [[True, i == 2] for i in range(4)]
    assert whole.weights(whole.records("train")) == pytest.approx([1, 1, 2, 1])
