import gc
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vertebra.tasks.detection import DetectionData, Split
from vertebra.tasks.detection.transforms import Resize

IMAGES, BOXES = 5_000, 20  # 100,000 annotations
FILES, SIDE = 8, 48
WARMING, EPOCHS = 2, 10


def write_coco(root: Path) -> None:
    """Write a few small images, under as many names as the data set has images."""
    rng = np.random.default_rng(0)
    for number in range(FILES):
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).save(root / f"{number}.jpg")
    for number in range(FILES, IMAGES):
        os.link(root / f"{number % FILES}.jpg", root / f"{number}.jpg")
    boxes = np.concatenate([rng.uniform(0, 20, (IMAGES * BOXES, 2)), rng.uniform(5, 25, (IMAGES * BOXES, 2))], 1)
    images = [{"id": i, "file_name": f"{i}.jpg", "height": SIDE, "width": SIDE} for i in range(IMAGES)]
    annotations = [
        {"id": i + 1, "image_id": i // BOXES, "category_id": 1, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
        for i, box in enumerate(boxes.tolist())
    ]
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "thing"}]}
    (root / "train.json").write_text(json.dumps(content))


def memory(processes: list[int]) -> float:
    """Return the MB that processes hold together, by Linux's account; what they share counts once.

    Without the libraries: what of them counts here depends on which other programs of the machine use them too.
    """
    rollups = [Path(f"/proc/{process}/smaps_rollup").read_text().splitlines() for process in processes]
    lines = [line for rollup in rollups for line in rollup if line.startswith(("Pss_Anon:", "Pss_Shmem:"))]
    assert len(lines) == 2 * len(processes)
    return sum(int(line.split()[1]) for line in lines) * 1024 / 1e6


def slope(values: list[float]) -> float:
    return float(np.polyfit(np.arange(len(values)), values, 1)[0])


@pytest.mark.slow
def test_memory_is_flat_over_ten_epochs_of_a_large_data_set(tmp_path: Path) -> None:
    write_coco(tmp_path)
    data = DetectionData(
        str(tmp_path), train=Split("train.json", "."), resize=Resize([SIDE], SIDE), batch_size=50, num_workers=2
    )
    assert len(data.records("train").instances.boxes) == IMAGES * BOXES
    loader = data.train_dataloader()
    held = []
    for epoch in range(WARMING + EPOCHS):
        loader.batch_sampler.set_epoch(epoch)
        seen = sum(len(source.truth.boxes) for batch in loader for source in batch.sources)
        assert seen == IMAGES * BOXES
        gc.collect()
        workers = [worker.pid for worker in loader._iterator._workers]
        assert len(workers) == 2
        held.append(memory([os.getpid(), *workers]))
    assert slope(held[WARMING:]) < 1, held
