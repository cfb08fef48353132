from pathlib import Path

import cv2
import numpy as np

from vertebra.tools.samples.generation import CLASSES, write_generation_samples


def test_shapes_are_balanced_and_an_image_does_not_depend_on_their_number(tmp_path: Path) -> None:
    write_generation_samples(tmp_path / "few", train=6, val=6)
    write_generation_samples(tmp_path / "more", train=12, val=6)
    files = sorted(file.relative_to(tmp_path / "few") for file in (tmp_path / "few").rglob("*.png"))
    assert [len(list((tmp_path / "more/train" / name).iterdir())) for name in CLASSES] == [2] * 6
    for file in files:
        assert (tmp_path / "few" / file).read_bytes() == (tmp_path / "more" / file).read_bytes()
    train, val = (cv2.imread(str(tmp_path / "few" / split / "star" / "000004.png")) for split in ("train", "val"))
    assert train.shape == (32, 32, 3)
    assert not np.array_equal(train, val)


def test_outlines_differ_between_classes_and_are_inside_of_the_image(tmp_path: Path) -> None:
    write_generation_samples(tmp_path, train=60, val=6)
    areas = {}
    for name in CLASSES:
        masks = []
        for file in (tmp_path / "train" / name).iterdir():
            brightness = cv2.imread(str(file)).max(axis=2)
            masks.append(brightness > 120)
            border = np.concatenate([brightness[0], brightness[-1], brightness[:, 0], brightness[:, -1]])
            assert border.max() <= 60  # the ground
        areas[name] = np.mean(masks)
    assert areas["disc"] > areas["ring"] > 0
    assert areas["disc"] > areas["square"] > areas["triangle"]
