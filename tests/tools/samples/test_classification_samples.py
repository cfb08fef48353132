import numpy as np
import pytest

from vertebra.tasks.loading.files.images import read_image
from vertebra.tools.samples.classification import CLASSES, draw_textures, write_classification_samples


def test_images_are_written_to_one_folder_per_class(tmp_path):
    write_classification_samples(tmp_path, train=12, val=10, size=24)
    assert sorted(path.name for path in (tmp_path / "train").iterdir()) == list(CLASSES) == sorted(CLASSES)
    assert len(list(tmp_path.glob("train/*/*.png"))) == 12
    image = read_image(tmp_path / "train" / CLASSES[1] / "000011.png")
    assert (image == draw_textures(12, 24)[0][11]).all()


def test_images_depend_on_seed_stream_and_index_only():
    images, labels = draw_textures(15, 20)
    assert labels.tolist() == [i % 10 for i in range(15)]
    assert images.shape == (15, 20, 20, 3)
    assert (draw_textures(4, 20)[0] == images[:4]).all()
    assert (draw_textures(4, 20, seed=1)[0] != images[:4]).any()
    assert (draw_textures(4, 20, stream=1)[0] != images[:4]).any()
    with pytest.raises(ValueError, match="size is 10"):
        draw_textures(1, 10)


def test_color_is_independent_of_the_class():
    images, labels = draw_textures(400, 24)
    means = images.mean(axis=(1, 2))
    by_class = np.array([means[labels == label].mean(axis=0) for label in range(10)])
    spread = means.std(axis=0)
    assert (by_class.std(axis=0) < 0.4 * spread).all()  # means of 40 images: 1 / sqrt(40) if independent
