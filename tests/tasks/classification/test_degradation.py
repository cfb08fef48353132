import numpy as np
import pytest
import torch

from vertebra.tasks.classification import degradation
from vertebra.tasks.classification.classifier import image_classifier
from vertebra.tasks.classification.degradation import Curve, Pair, _augment, conclusions, stack_runs, train_network
from vertebra.tasks.classification.degradation_report import degradation_sections, write_figure
from vertebra.tasks.classification.labeled_images import LabeledImages
from vertebra.tools.samples.classification import CLASSES, draw_textures


def pair(kind, shallow, deep, epochs=3):
    def made_up(name, finals):
        train = np.linspace(0.9, finals, epochs).T
        return Curve(name, np.atleast_2d(train), np.atleast_2d(train) + 0.05)

    return Pair(kind, made_up(f"{kind}20", shallow), made_up(f"{kind}56", deep))


GOOD = pair("residual", [0.10], [0.08])


def test_conclusions_follow_from_the_errors():
    assert "This is the paper's finding" in conclusions(pair("plain", [0.1], [0.4]), GOOD)[-1]
    assert "No degradation was observed" in conclusions(pair("plain", [0.4], [0.1]), GOOD)[-1]
    assert "by less than half as much" in conclusions(pair("plain", [0.1], [0.4]), pair("residual", [0.1], [0.2]))[-1]
    assert (
        "do not reduce the degradation here"
        in conclusions(pair("plain", [0.1], [0.4]), pair("residual", [0.1], [0.5]))[-1]
    )
    first, second, _ = conclusions(pair("plain", [0.1], [0.4]), GOOD)
    assert "of plain20 is 10.0%, that of plain56 40.0%; the deeper network is 30.0 points worse" in first
    assert "2.0 points better" in second
    assert "no different" in conclusions(pair("plain", [0.100], [0.105]), GOOD)[0]


def test_a_gap_within_the_variation_over_seeds_is_not_significant():
    steady, shaky = pair("plain", [0.1, 0.1], [0.2, 0.22]), pair("plain", [0.1, 0.1], [0.01, 0.4])
    assert steady.degrades
    assert shaky.gap == pytest.approx(0.105)
    assert not shaky.degrades


def test_report_and_figure(tmp_path):
    plain, residual = pair("plain", [0.1, 0.2], [0.4, 0.5]), pair("residual", [0.1, 0.1], [0.1, 0.1])
    sections = degradation_sections(plain, residual, "Three epochs.")
    assert [section.title for section in sections] == ["Conclusion", "Learning curves", "Final errors"]
    assert "paper&#x27;s finding" in sections[0].html
    assert sections[1].html.count("<svg") == 2
    assert "0.150" in sections[2].html
    write_figure(tmp_path / "figure.png", plain, residual)
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


@pytest.fixture(scope="module")
def textures():
    pixels, labels = draw_textures(40, 18)
    return LabeledImages(CLASSES, np.arange(40).astype(str), labels, pixels)


@pytest.mark.parametrize("rate", [0.0, 0.1])
def test_another_optimizer_trains_all_parameters(textures, rate):
    built = []

    def optimizer(parameters):
        built.extend(parameters)
        built.append([x.detach().clone() for x in built])
        return torch.optim.SGD(built[:-1], lr=rate)

    spelled = "resnet:small-basic-d1.1-w4.8"
    train_network(spelled, textures, textures, 1, 20, 0, optimizer)
    *trained, initial = built
    assert len(trained) == len(list(image_classifier(spelled, 10).parameters()))
    assert all(torch.equal(x, y) for x, y in zip(trained, initial, strict=True)) is (rate == 0)


def test_training_is_repeatable_and_differs_by_seed(textures):
    val = textures.only(np.arange(20))
    runs = [train_network("resnet20", textures, val, epochs=2, batch_size=16, seed=seed) for seed in (0, 0, 1)]
    assert runs[0] == runs[1] != runs[2]
    assert all(0 <= error <= 1 for errors in runs[0] for error in errors)
    together = stack_runs("resnet20", runs)
    assert together.train.shape == together.val.shape == (3, 2)


@pytest.mark.parametrize(("images", "batches"), [(20, [8, 8, 4]), (17, [8, 9]), (16, [8, 8]), (9, [9]), (5, [5])])
def test_no_image_is_a_batch_of_its_own(images, batches, textures, monkeypatch):
    sizes = []
    monkeypatch.setattr(degradation, "_augment", lambda batch, rng: sizes.append(len(batch)) or batch)
    some = textures.only(np.arange(images))
    train_network("resnet:plain-basic-d1.1.1.1-w4.4.4.4", some, some, 2, 8, 0)
    assert sizes == 2 * batches


def test_files_are_refused(tmp_path):
    images = LabeledImages(("a",), np.array(["a.png"]), np.array([0]))
    with pytest.raises(ValueError, match=r"1 images are files \(a\.png, \.\.\.\).*Use CIFAR's archive"):
        train_network("resnet18", images, images, 1, 1, 0)


def test_augmented_images_are_randomly_shifted_and_flipped():
    images = torch.arange(1, 257, dtype=torch.uint8).clamp(1).repeat(64, 1).view(64, 1, 16, 16)
    cut = _augment(images, torch.Generator().manual_seed(0))
    assert cut.shape == images.shape
    inner = cut[:, 0, 4:12, 4:12].long()
    steps = (inner[:, :, 1:] - inner[:, :, :-1]).unique()
    assert steps.tolist() == [-1, 1]  # neighbors stay neighbors, in one direction or the other
    assert ((inner[:, 1:] - inner[:, :-1]).unique() == 16).all()
    assert len({tuple(one.flatten().tolist()) for one in cut}) > 20
