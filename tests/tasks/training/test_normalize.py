import pytest
import torch
from torchvision.transforms.functional import normalize

from vertebra.tasks.training.normalize import IMAGENET_MEAN, IMAGENET_STD, Normalize, normalize_for


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (2, 3, 7, 9), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_equals_torchvisions(images, memory_format):
    whole = torch.tensor([[7, 9], [7, 9]])
    found = Normalize()(images.contiguous(memory_format=memory_format), whole)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, normalize(images / 255, IMAGENET_MEAN, IMAGENET_STD))


def test_padding_stays_zero(images):
    found = Normalize()(images, torch.tensor([[4, 9], [7, 3]]))
    expected = Normalize()(images, torch.tensor([[7, 9], [7, 9]]))
    assert torch.equal(found[0, :, :4], expected[0, :, :4])
    assert found[0, :, 4:].abs().max() == 0
    assert torch.equal(found[1, :, :, :3], expected[1, :, :, :3])
    assert found[1, :, :, 3:].abs().max() == 0


def test_the_input_is_not_modified(images):
    floats = images.float()  # of the output's type, so that nothing has to be converted
    Normalize()(floats, torch.tensor([[7, 9], [7, 3]]))
    assert torch.equal(floats, images.float())


def test_memory_format_is_kept(images):
    sizes = torch.tensor([[7, 9], [7, 9]])
    found = Normalize()(images.contiguous(memory_format=torch.channels_last), sizes)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert Normalize()(images, sizes).is_contiguous()


def test_other_channels(images):
    found = Normalize(mean=(0.5,), std=(0.25,))(images[:, :1], torch.tensor([[7, 9], [7, 9]]))
    torch.testing.assert_close(found, (images[:, :1] / 255 - 0.5) / 0.25)


def test_empty_batch():
    found = Normalize()(torch.zeros(0, 3, 0, 0, dtype=torch.uint8), torch.zeros(0, 2, dtype=torch.int64))
    assert found.shape == (0, 3, 0, 0)


def test_constants_are_not_in_the_state_dict():
    assert Normalize().state_dict() == {}


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_statistics_have_a_number_per_channel(channels):
    network = torch.nn.Sequential(torch.nn.Conv2d(channels, 4, 3), torch.nn.Conv2d(4, 2, 3))
    images = torch.randint(0, 256, (2, channels, 7, 9), dtype=torch.uint8)
    sizes = torch.tensor([[7, 9], [7, 9]])
    found = normalize_for(network)(images, sizes)
    if channels == 3:
        assert torch.equal(found, Normalize()(images, sizes))
    else:
        torch.testing.assert_close(found, (images / 255 - 0.449) / 0.226, atol=2e-3, rtol=0)
    given = normalize_for(network, [0.1] * channels, [0.2] * channels)(images, sizes)
    torch.testing.assert_close(given, (images / 255 - 0.1) / 0.2)


def test_statistics_of_wrong_length_are_refused():
    network = torch.nn.Conv2d(5, 4, 3)
    with pytest.raises(ValueError, match=r"model\.mean is \[0\.1\]; expected 5 numbers, one for each"):
        normalize_for(network, mean=[0.1])
    with pytest.raises(ValueError, match=r"model\.std is .*expected 5 numbers above 0"):
        normalize_for(network, std=[0.0] * 5)
    with pytest.raises(ValueError, match="the images have 3 channels and the network takes 5"):
        normalize_for(network)(torch.zeros(1, 3, 2, 2, dtype=torch.uint8), torch.tensor([[2, 2]]))


def test_a_batch_without_images_has_no_channels_to_compare():
    network = torch.nn.Conv2d(5, 4, 3)
    found = normalize_for(network)(torch.zeros(0, 3, 0, 0, dtype=torch.uint8), torch.zeros(0, 2, dtype=torch.int64))
    assert len(found) == 0
