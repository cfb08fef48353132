import json
from pathlib import Path

import numpy as np
import pytest
from lightning.pytorch import Trainer
from PIL import Image

from vertebra.tasks.detection import DetectionData, DetectionModule, DetectionSelection, ProposalSelection, faster_rcnn
from vertebra.tasks.detection.transforms import Resize


def build(root: Path) -> tuple[DetectionModule, DetectionData]:
    data = DetectionData(
        class_names=["cat"], predict=[str(root)], resize=Resize([32], 48), batch_size=2, num_workers=0, train=None
    )
    network = faster_rcnn(
        "resnet18",
        1,
        channels=8,
        rois_per_image=4,
        proposals=ProposalSelection(5, 5, 5, 5),
        detections=DetectionSelection(score_threshold=0.0),
    )
    return DetectionModule(network, ["cat"]), data


@pytest.fixture
def images(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("a/0.png", "b/0.png", "a/1.png"):
        file = tmp_path / "images" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (32, 40, 3), dtype=np.uint8)).save(file)
    return tmp_path / "images"


@pytest.fixture
def trainer(tmp_path: Path) -> Trainer:
    return Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path / "out",
    )


@pytest.mark.filterwarnings("ignore")
def test_detections_name_their_files_and_every_image_has_its_picture(images, trainer, tmp_path):
    trainer.predict(*build(images), return_predictions=False)
    rows = json.loads((tmp_path / "out/detections.json").read_text())
    assert {Path(row["file_name"]).relative_to(images).as_posix() for row in rows} == {"a/0.png", "b/0.png", "a/1.png"}
    assert all(set(row) == {"file_name", "category", "category_id", "bbox", "score"} for row in rows)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["detections.json", "pictures"]
    # two images of one name have two pictures, whichever process draws them
    assert sorted(path.name for path in (tmp_path / "out/pictures").iterdir()) == ["0-1.jpg", "0-3.jpg", "1.jpg"]


@pytest.mark.filterwarnings("ignore")
def test_categories_have_the_ids_of_the_training_data(images, trainer, tmp_path):
    module, data = build(images)
    module.on_load_checkpoint({"category_ids": [7]})
    predictions = trainer.predict(module, data)  # which copies what `predict_step` returns
    rows = json.loads((tmp_path / "out/detections.json").read_text())
    assert {row["category_id"] for row in rows} == {7}
    found = sum(len(prediction.image.detections) for batch in predictions for prediction in batch)
    assert found == len(rows) > 0


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_run_leaves_no_detections(images, trainer, tmp_path, error):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/detections.json").write_text("[]")  # of an earlier run
    module, data = build(images)
    step = module.predict_step

    def breaking(batch, batch_idx):
        if batch_idx == 1:
            part = tmp_path / "out/detections.json.0.part"
            assert part.is_file()
            raise error("on purpose")
        return step(batch, batch_idx)

    module.predict_step = breaking
    with pytest.raises((error, SystemExit)):
        trainer.predict(module, data, return_predictions=False)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["pictures"]


def write_coco(file: Path, names: list[str], category: str = "cat") -> Path:
    images = [{"id": 100 + i, "file_name": name, "width": 40, "height": 32} for i, name in enumerate(names)]
    content = {"images": images, "annotations": [], "categories": [{"id": 17, "name": category}]}
    file.write_text(json.dumps(content))
    return file


@pytest.mark.filterwarnings("ignore")
def test_detections_have_the_ids_of_an_annotation_file(images, trainer, tmp_path):
    module, data = build(images)
    data.predict_annotations = str(write_coco(tmp_path / "a.json", ["b/0.png", "a/0.png", "1.png"]))
    trainer.predict(module, data, return_predictions=False)
    rows = json.loads((tmp_path / "out/detections.json").read_text())
    assert all(set(row) == {"image_id", "category_id", "bbox", "score"} for row in rows)
    assert {row["image_id"] for row in rows} == {100, 101, 102}
    assert {row["category_id"] for row in rows} == {17}
    # each picture beside its own row: a/0.png has id 101
    assert sorted(path.name for path in (tmp_path / "out/pictures").iterdir()) == ["0-100.jpg", "0-101.jpg", "1.jpg"]


@pytest.mark.parametrize(
    ("names", "category", "message"),
    [
        (["b/0.png", "a/0.png"], "cat", r"has no image that .*1\.png can be"),
        (["0.png", "1.png", "./0.png"], "cat", r"has several images that .*0\.png can be"),
        (["b/0.png", "a/0.png", "1.png"], "dog", "has no category 'cat'"),
    ],
)
def test_images_and_classes_outside_an_annotation_file_are_refused(images, tmp_path, names, category, message):
    data = build(images)[1]
    data.predict_annotations = str(write_coco(tmp_path / "a.json", names, category))
    with pytest.raises(ValueError, match=message):
        data.predict_dataset()
