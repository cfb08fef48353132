import pytest
import torch

from detectors import loss_history
from vertebra.backbones import BackboneOptions, ResNet, create_backbone
from vertebra.backbones.blocks import BasicBlock
from vertebra.tasks.detection import QueryDetections, TransformerSize, load_weights, rt_detr
from vertebra.tasks.detection.parts.batch import pad_targets
from vertebra.tasks.training.divergence.finite_outputs import NonFiniteOutput

NUM_CLASSES = 2
TINY = TransformerSize(16, 32, 0.5, num_layers=2, channels=16, feedforward=32, num_heads=4, num_points=2)
NAMES = {f"loss_{dn}{name}" for dn in ("", "dn_") for name in ("classifier", "box_l1", "box_giou")}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def detector(norm="group", **options):
    body = ResNet(BasicBlock, (1, 1, 1, 1), BackboneOptions(norm=norm), widths=(8, 16, 24, 32))
    return rt_detr(
        body, NUM_CLASSES, **{"size": TINY, "head_norm": "group", "num_queries": 20, "num_denoising": 10} | options
    )


EMPTY = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}


def test_losses_fall(samples):
    network = detector().train()
    images, targets = samples(8)
    history = loss_history(network, images, targets, steps=30, lr=4e-3)
    assert set(history[0]) == NAMES
    for name in ("loss_box_l1", "loss_box_giou", "loss_dn_classifier"):  # that of the queries rises with their overlap
        assert history[-1][name] < 0.6 * history[0][name], name


@pytest.mark.parametrize("which", [(), (0,), (0, 1)])
def test_one_step_reaches_every_parameter_also_without_objects(which, samples):
    network = detector("batch", head_norm="batch").train()
    images, targets = samples(2)
    for i in which:
        targets[i] = EMPTY
    losses = network(images, targets)
    assert set(losses) == NAMES
    assert losses["loss_classifier"] > 0
    assert (losses["loss_box_l1"] > 0) == (len(which) < 2)
    assert (losses["loss_dn_classifier"] > 0) == (len(which) < 2)
    sum(losses.values()).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_more_objects_than_queries_train(samples):
    network = detector(num_queries=3, num_denoising=4).train()
    corners = 60 * torch.rand(7, 2)
    target = {"boxes": torch.cat((corners, corners + 3), dim=1), "labels": torch.ones(7, dtype=torch.int64)}
    losses = network(samples(1)[0], [target])
    assert all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


def test_boxes_of_one_pixel_and_an_image_of_one_pixel():
    network = detector().train()
    target = {"boxes": torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]]), "labels": torch.tensor([1, 2])}
    losses = network([torch.randn(3, 1, 1)] * 2, [target] * 2)  # padded to 32 pixels, which are 21 on three levels
    sum(losses.values()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())
    assert all((found["boxes"] <= 1).all() for found in network.eval()([torch.randn(3, 1, 1)] * 2))


def test_a_batch_equals_its_single_images():
    network = detector().eval()
    for head in (network.selection.box_head, *network.decoder.box_heads):
        torch.nn.init.normal_(head[-1].weight, std=0.3)
    shapes = [(60, 96), (64, 70), (33, 65)]  # all are padded to (64, 96)
    images = [torch.randn(3, *shape) for shape in shapes]
    together, single = network(images), [network([image])[0] for image in images]
    for found, expected, (height, width) in zip(together, single, shapes, strict=True):
        assert len(found["boxes"]) > 5
        for name, value in found.items():
            torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-3)
        assert (found["boxes"] >= 0).all()
        assert (found["boxes"][:, [0, 2]] <= width).all()
        assert (found["boxes"][:, [1, 3]] <= height).all()
        assert (found["scores"].diff() <= 0).all()


def test_what_is_reported_is_chosen():
    images = [torch.randn(3, 64, 64)]
    network = detector(detections=QueryDetections(per_image=7)).eval()
    scores = network(images)[0]["scores"]
    assert len(scores) == 7
    network.detections.score_threshold = scores[3].item()
    assert len(network(images)[0]["scores"]) == 3


def test_a_crowd_over_everything_leaves_no_background_to_learn(samples):
    network = detector().train()
    crowd = {
        "boxes": torch.tensor([[-999.0, -999.0, 999.0, 999.0]]),
        "labels": torch.tensor([1]),
        "crowd": torch.tensor([True]),
    }
    losses = network(samples(1)[0], [crowd])
    assert all(loss == 0 for loss in losses.values())
    sum(losses.values()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())
    assert network(samples(1)[0], [EMPTY])["loss_classifier"] > 0


def test_padded_targets_change_only_the_denoising(samples):
    network = detector("frozen").train()
    images, targets = samples(2)
    losses, padded = network(images, targets), network(images, pad_targets(targets, multiple=4))
    for name in ("loss_classifier", "loss_box_l1", "loss_box_giou"):
        torch.testing.assert_close(padded[name], losses[name])


@pytest.mark.parametrize("part", ["class_heads", "box_heads"])
def test_outputs_that_are_not_finite_are_refused(part, samples):
    network = detector().eval()
    head = getattr(network.decoder, part)[-1]
    (head if part == "class_heads" else head[-1]).bias.data[0] = float("nan")
    with pytest.raises(NonFiniteOutput, match="sample 0 of the batch, sample 1 of the batch"):
        network(samples(2)[0])


def test_every_class_starts_at_the_prior():
    network = detector()
    for head in (network.selection.score_head, *network.decoder.class_heads):
        torch.testing.assert_close(head(torch.zeros(1, 16)).sigmoid(), torch.full((1, NUM_CLASSES), 0.01))


def test_another_number_of_classes_starts_from_a_checkpoint(tmp_path):
    first = rt_detr("resnet18", 4, size=TINY)
    state = {f"network.{key}": value for key, value in first.state_dict().items()}
    torch.save({"state_dict": state, "class_names": list("abcd")}, tmp_path / "a.ckpt")
    loaded = rt_detr("resnet18", 2, size=TINY, weights=str(tmp_path / "a.ckpt")).state_dict()
    other = {key for key, value in first.state_dict().items() if not torch.equal(value, loaded[key])}
    heads = ("selection.score_head", "decoder.class_heads.0", "decoder.class_heads.1")
    assert {key.rpartition(".")[0] for key in other} == {*heads, "denoising.embedding"}


def test_its_own_weights_load_as_they_are():
    first, second = detector(), detector()
    load_weights(second, first.state_dict())
    assert all(torch.equal(value, second.state_dict()[key]) for key, value in first.state_dict().items())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": "r19"}, "size is 'r19'; choose r18, r34, r50, r101"),
        ({"size": TransformerSize(channels=30)}, "30 channels and 8 attention heads"),
        ({"size": TransformerSize(encoder_channels=6, num_heads=2)}, "the encoder has 6 channels"),
    ],
)
def test_sizes_that_cannot_be_built_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        detector(**options)


@pytest.mark.parametrize("name", ["resnet18vd", "resnet20", "densenet121", "resnetv2_18", "timm:convnext_atto"])
def test_backbones_of_any_family_train(name, samples):
    network = rt_detr(name, 2, size=TINY, num_queries=10, num_denoising=4).train()
    losses = network([torch.randn(3, 64, 50), torch.randn(3, 40, 64)], samples(2)[1])
    sum(losses.values()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.neck.parameters())
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in network.backbone.parameters())


def test_levels_that_do_not_halve():
    body = create_backbone("resnet18", output_stride=8)
    network = rt_detr(body, 2, size=TINY, num_queries=10).eval()
    assert [level.reduction for level in network.neck.levels] == [8, 8, 8]
    with torch.no_grad():
        pyramid = network.neck(body(torch.randn(1, 3, 64, 72)))
    assert [tuple(x.shape) for x in pyramid.values()] == [(1, 16, 8, 9)] * 3


def test_volumes_are_refused():
    with pytest.raises(ValueError, match="RT-DETR is for images: take a 2-D backbone"):
        rt_detr("resnet18s_3d", 2, size=TINY)
