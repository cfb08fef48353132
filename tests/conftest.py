from pathlib import Path

import pytest
import torch

from tools.samples.classification import write_classification_samples
from tools.samples.detection import write_detection_samples

torch.set_num_threads(1)  # tiny tensors; more threads only wait for each other on a busy machine


@pytest.fixture(scope="session")
def detection_samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny COCO data set: 10 training and 5 validation images."""
    root = tmp_path_factory.mktemp("detection")
    write_detection_samples(root, train=10, val=5, size=(64, 80), max_objects=3)
    return root


@pytest.fixture(scope="session")
def classification_samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny folder-per-class data set: 20 training and 13 validation images of ten textures."""
    root = tmp_path_factory.mktemp("classification")
    write_classification_samples(root, train=20, val=13)
    return root
