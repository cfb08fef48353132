import copy
from urllib.error import URLError

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torchvision.models import ResNet18_Weights

from vertebra.backbones import BackboneOptions, ResNet, create_backbone, load_weights
from vertebra.backbones.blocks import BasicBlock
from vertebra.backbones.weight_files import read_state_dict

URL = ResNet18_Weights.DEFAULT.url


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def hub(tmp_path, monkeypatch):
    """An empty torch.hub cache, without network access."""

    def download(url, *args, **kwargs):
        raise URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    return tmp_path / "home" / "hub" / "checkpoints"


def tiny(in_channels=3, **options):
    return ResNet(BasicBlock, (1, 1, 1, 1), BackboneOptions(in_channels=in_channels, **options), widths=(8, 16, 24, 32))


def assert_same(body, state):
    for key, value in body.state_dict().items():
        if not key.endswith("num_batches_tracked"):
            assert torch.equal(value, state[key]), key


def written(folder, kind, state):
    path = folder / f"weights.{kind}"
    if kind == "safetensors":
        save_file(state, path)
    else:
        torch.save({"state_dict": state, "epoch": 3} if kind == "ckpt" else state, path)
    return path


@pytest.mark.parametrize("kind", ["pth", "pt", "ckpt", "safetensors"])
def test_every_kind_of_file(tmp_path, kind):
    state = tiny().state_dict()
    body = tiny()
    load_weights(body, written(tmp_path, kind, state))
    assert_same(body, state)
    body = tiny()
    load_weights(body, str(tmp_path / f"weights.{kind}"))
    assert_same(body, state)


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_weights_by_name_leave_the_classifier(tmp_path, kind):
    state = torchvision.models.resnet18(weights=None).state_dict()
    assert "fc.weight" in state
    path = written(tmp_path, kind, state)
    assert_same(create_backbone("resnet18", weights=path), state)


def test_data_parallel_prefixes_and_frozen_norms():
    state = tiny().state_dict()
    body = tiny(norm="frozen")
    load_weights(body, {f"module.{key}": value for key, value in state.items()})
    assert_same(body, state)


def test_one_input_channel_sums_the_colors():
    colors, gray = tiny().eval(), tiny(in_channels=1).eval()
    load_weights(gray, colors.state_dict(), adapt=True)
    image = torch.randn(1, 1, 33, 40)
    expected = colors(image.expand(-1, 3, -1, -1))
    for name, x in gray(image).items():
        torch.testing.assert_close(x, expected[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("channels", [2, 5, 6])
def test_more_channels_repeat_the_colors(channels):
    colors, more = tiny().eval(), tiny(in_channels=channels).eval()
    load_weights(more, colors.state_dict(), adapt=True)
    for channel in range(channels):
        expected = colors.conv1.weight[:, channel % 3] * 3 / channels
        torch.testing.assert_close(more.conv1.weight[:, channel], expected)
    if channels == 6:  # both triples see the same: as loud as one
        image = torch.randn(1, 3, 33, 40)
        torch.testing.assert_close(more.conv1(image.repeat(1, 2, 1, 1)), colors.conv1(image), rtol=1e-4, atol=1e-5)


def test_adapting_leaves_the_source_alone():
    state = tiny().state_dict()
    before = copy.deepcopy(state)
    load_weights(tiny(in_channels=5), state, adapt=True)
    assert all(torch.equal(value, before[key]) for key, value in state.items())


def test_other_channels_are_refused_with_the_remedy():
    with pytest.raises(
        ValueError, match=r"conv1\.weight is \(64, 3, 7, 7\) in the state dict but \(64, 1, 7, 7\)"
    ) as error:
        load_weights(tiny(in_channels=1), tiny().state_dict())
    assert "adapt=True" in str(error.value)


def test_all_or_nothing_with_every_difference_listed():
    body, state = tiny(), {key: torch.zeros_like(value) for key, value in tiny().state_dict().items()}
    state["layer5.conv.weight"] = torch.zeros(1)
    state["layer1.0.conv2.weight"] = torch.zeros(8, 8, 1, 1)
    del state["layer2.0.bn1.running_mean"]
    before = copy.deepcopy(body.state_dict())
    with pytest.raises(ValueError, match="Nothing was loaded; build the network") as error:
        load_weights(body, state)
    assert "missing from the state dict: layer2.0.bn1.running_mean" in str(error.value)
    assert "unexpected in the state dict: layer5.conv.weight" in str(error.value)
    assert "layer1.0.conv2.weight is (8, 8, 1, 1) in the state dict but (8, 8, 3, 3)" in str(error.value)
    assert "adapt=True" not in str(error.value)
    assert all(torch.equal(value, before[key]) for key, value in body.state_dict().items())


def test_many_differences_are_counted_after_the_first_three():
    with pytest.raises(ValueError, match=r"conv1\.weight is .* more of another shape or type") as error:
        load_weights(tiny(), {key: value.flatten()[:1] for key, value in tiny().state_dict().items()})
    assert str(error.value).count("in the model") == 3
    with pytest.raises(ValueError, match=r"missing from the state dict: (\S+, ){2}\S+ and \d+ more\. Nothing"):
        load_weights(tiny(), {})


def test_prefixes_can_be_ignored():
    state = tiny().state_dict() | {"decoder.weight": torch.zeros(1), "fc.bias": torch.zeros(1)}
    with pytest.raises(ValueError, match=r"unexpected in the state dict: decoder\.weight\. Nothing"):
        load_weights(tiny(), state)
    body = tiny()
    load_weights(body, state, ignore=("decoder.",))
    assert_same(body, state)


def test_long_lists_of_differences_are_truncated():
    with pytest.raises(ValueError, match=r"and \d+ more") as error:
        load_weights(tiny(), {})
    assert len(str(error.value)) < 600


class Trap:
    """Runs code when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("text", ["just text", "class,path\n", "<html>404</html>", "X", "G 12\n", "."])
def test_a_file_of_text_is_refused_as_one(tmp_path, text):
    (tmp_path / "weights.pth").write_text(text)
    with pytest.raises(ValueError, match=r"weights\.pth: cannot be read as weights \(torch\.save did not write it"):
        load_weights(tiny(), tmp_path / "weights.pth")


def test_code_in_a_file_does_not_run(tmp_path):
    torch.save({"state_dict": {}, "more": Trap(tmp_path / "sprung")}, tmp_path / "bad.pth")
    with pytest.raises(ValueError, match=r"bad\.pth: cannot be read as weights.*refused.*save `model\.state_dict\(\)`"):
        load_weights(tiny(), tmp_path / "bad.pth")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("name", ["broken.pth", "broken.safetensors"])
@pytest.mark.parametrize("content", [b"", b"<html>404</html>" * 9])
def test_broken_files_are_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name}: cannot be read"):
        read_state_dict(tmp_path / name)


def test_files_without_a_state_dict(tmp_path):
    torch.save({"lr": 0.1}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"a\.pth: holds no state dict; save"):
        read_state_dict(tmp_path / "a.pth")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth: no such file; give the path"):
        read_state_dict(tmp_path / "nowhere.pth")


def test_published_weights_come_from_the_cache(hub):
    state = torchvision.models.resnet18(weights=None).state_dict()
    hub.mkdir(parents=True)
    torch.save(state, hub / URL.rsplit("/", 1)[-1])
    assert_same(create_backbone("resnet18", weights="pretrained"), state)
    gray = create_backbone("resnet18", weights="pretrained", in_channels=1)
    torch.testing.assert_close(gray.conv1.weight, state["conv1.weight"].sum(dim=1, keepdim=True))


def test_offline_error_names_file_and_cache(hub):
    with pytest.raises(FileNotFoundError) as error:
        create_backbone("resnet18", weights="pretrained")
    message = str(error.value)
    file = URL.rsplit("/", 1)[-1]
    for part in (file, str(hub), URL, f"weights=/path/to/{file}", "no route to host"):
        assert part in message


def test_pretrained_needs_a_published_name():
    with pytest.raises(ValueError, match="no published weights are known for 'resnet18_of_mine'; give the path"):
        load_weights(tiny(), "pretrained", name="resnet18_of_mine")
    with pytest.raises(ValueError, match="'pretrained' needs the backbone's name; use create_backbone"):
        load_weights(tiny(), "pretrained")
