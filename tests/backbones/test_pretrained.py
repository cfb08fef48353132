from urllib.error import URLError

import pytest
import timm
import torch
import torchvision
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import save_file
from torchvision.models import DenseNet121_Weights, ResNet18_Weights

from vertebra.backbones import create_backbone, load_weights
from vertebra.backbones.pretrained import is_published


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def hub(tmp_path, monkeypatch):
    """An empty torch.hub cache, without network access."""

    def no_route(url, *args, **kwargs):
        raise URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", no_route)
    folder = tmp_path / "home" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture(autouse=True)
def hugging_face(tmp_path, monkeypatch):
    """The contents of Hugging Face's cache, repository -> state dict, and the repositories that were requested."""
    repositories, requested = {}, []

    def download(repo_id, filename, **kwargs):
        requested.append(repo_id)
        if repo_id not in repositories:
            raise LocalEntryNotFoundError("cannot find the requested files in the local cache")
        save_file(repositories[repo_id], tmp_path / "model.safetensors")
        return str(tmp_path / "model.safetensors")

    monkeypatch.setattr(timm.models._hub, "hf_hub_download", download)
    return repositories, requested


def test_timm_tag_loads_into_our_network(hugging_face):
    repositories, requested = hugging_face
    state = timm.create_model("resnet18").state_dict()
    repositories["timm/resnet18.a2_in1k"] = state
    body = create_backbone("resnet18", weights="resnet18.a2_in1k")
    assert torch.equal(body.layer4[1].conv2.weight, state["layer4.1.conv2.weight"])
    assert set(requested) == {"timm/resnet18.a2_in1k"}


def test_pretrained_means_timms_default_where_torchvision_has_none(hugging_face):
    repositories, requested = hugging_face
    repositories["timm/convnext_atto.d2_in1k"] = timm.create_model("convnext_atto").state_dict()
    body = create_backbone("timm:convnext_atto", weights="pretrained", in_channels=1)
    first = repositories["timm/convnext_atto.d2_in1k"]["stem.0.weight"]
    torch.testing.assert_close(body.network.stem_0.weight, first.sum(dim=1, keepdim=True))
    create_backbone("timm:convnext_atto.d2_in1k", weights="pretrained")
    assert set(requested) == {"timm/convnext_atto.d2_in1k"}
    state = repositories["timm/resnet18d.ra2_in1k"] = timm.create_model("resnet18d").state_dict()
    body = create_backbone("resnet18d", weights="pretrained")
    assert torch.equal(body.conv1[0].weight, state["conv1.0.weight"])


@pytest.mark.parametrize("source", ["ResNet18_Weights.IMAGENET1K_V1", "ResNet18_Weights.DEFAULT", "pretrained"])
def test_torchvisions_enums_by_name(hub, source):
    state = torchvision.models.resnet18(weights=None).state_dict()
    torch.save(state, hub / ResNet18_Weights.DEFAULT.url.rsplit("/", 1)[-1])
    body = create_backbone("resnet18", weights=source)
    assert torch.equal(body.layer4[1].conv2.weight, state["layer4.1.conv2.weight"])


@pytest.mark.parametrize("name", ["tsn:resnet18", "tsm:resnet18"])
def test_frame_wise_networks_load_image_weights(hub, name):
    state = torchvision.models.resnet18(weights=None).state_dict()
    torch.save(state, hub / ResNet18_Weights.DEFAULT.url.rsplit("/", 1)[-1])
    body = create_backbone(name, weights="pretrained")
    assert torch.equal(body.body.layer4[1].conv2.weight, state["layer4.1.conv2.weight"])


def test_densenets_pretrained_are_torchvisions(hub):
    state = torchvision.models.densenet121(weights=None).state_dict()
    torch.save(state, hub / DenseNet121_Weights.DEFAULT.url.rsplit("/", 1)[-1])
    body = create_backbone("densenet121", weights="pretrained")
    key = "denseblock4.denselayer16.conv2.weight"
    assert torch.equal(body.state_dict()[f"network.features_{key}"], state[f"features.{key}"])


def test_first_layers_of_several_convolutions_are_adapted():
    state = timm.create_model("resnet18d").state_dict()
    body = create_backbone("resnet18d", in_channels=6)
    with pytest.raises(ValueError, match=r"conv1\.0\.weight is \(32, 3, 3, 3\).*adapt=True"):
        load_weights(body, state)
    load_weights(body, state, adapt=True)
    torch.testing.assert_close(body.conv1[0].weight, state["conv1.0.weight"].repeat(1, 2, 1, 1) / 2)


def test_offline_error_names_repository_and_cache(hugging_face):
    with pytest.raises(FileNotFoundError) as error:
        create_backbone("resnet18", weights="resnet18.a1_in1k")
    for part in ("resnet18.a1_in1k", "https://huggingface.co/timm/resnet18.a1_in1k", "hub", "weights=/path/to/"):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("resnet18.nope", ValueError, r"timm has no weights 'nope' for resnet18; choose a1_in1k, "),
        ("resnet18.pth", FileNotFoundError, r"resnet18\.pth: no such file; give the path"),
        ("resnet5.a1_in1k", FileNotFoundError, r"resnet5\.a1_in1k: no such file; give the path.*or the name"),
        (
            "ResNet18_Weights.NOPE",
            ValueError,
            r"torchvision has no weights 'ResNet18_Weights\.NOPE'; give one of its names",
        ),
        (
            "ResNet5_Weights.DEFAULT",
            ValueError,
            r"torchvision has no weights 'ResNet5_Weights\.DEFAULT'; give one of its names",
        ),
    ],
)
def test_unknown_names_of_weights(source, error, message):
    body = create_backbone("resnet18")
    with pytest.raises(error, match=message):
        load_weights(body, source)


def test_networks_without_published_weights():
    with pytest.raises(ValueError, match="timm publishes no weights for 'resnet200'; give the path"):
        create_backbone("resnet200", weights="pretrained")


def test_a_file_comes_before_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    body = create_backbone("resnet18")
    torch.save(body.state_dict(), "resnet18.a1_in1k")
    load_weights(create_backbone("resnet18"), "resnet18.a1_in1k")
    assert is_published("resnet18.a1_in1k")
    assert not is_published("runs/resnet18.a1_in1k")
