"""The numbers of a mask are read in the modes in which they are unambiguous."""

import numpy as np
import pytest
from PIL import Image

from vertebra.tasks.loading.files.faults import UnreadableFile
from vertebra.tasks.segmentation.mask_files import read_values

VALUES = np.resize(np.array([0, 1, 1, 2], dtype=np.uint8), (6, 8))


def save(file, pixels, palette=None):
    image = Image.fromarray(pixels)
    if palette is not None:
        image.putpalette(palette)
    image.save(file)
    return file


@pytest.mark.parametrize("channels", [3, 4, 2])
def test_gray_that_was_saved_as_color_is_read(tmp_path, channels):
    pixels = np.stack([VALUES] * channels, axis=2)
    if channels != 3:
        pixels[..., -1] = 255
    np.testing.assert_array_equal(read_values(save(tmp_path / "a.png", pixels)), VALUES)


def test_16_bits_and_1_bit_are_read(tmp_path):
    np.testing.assert_array_equal(read_values(save(tmp_path / "a.png", VALUES.astype(np.uint16))), VALUES)
    np.testing.assert_array_equal(read_values(save(tmp_path / "b.png", VALUES > 0)), VALUES > 0)


@pytest.mark.parametrize("palette", [[0, 0, 0, 128, 0, 0, 0, 128, 0], [0, 0, 0, 9, 9, 9, 255, 255, 255]])
def test_a_palette_for_display_does_not_change_the_numbers(tmp_path, palette):
    np.testing.assert_array_equal(read_values(save(tmp_path / "a.png", VALUES, palette)), VALUES)


@pytest.mark.parametrize(
    ("name", "pixels", "palette", "message"),
    [
        ("a.png", VALUES, [255, 255, 255, 0, 0, 0, 9, 9, 9], "0 is gray 255, 1 is gray 0"),
        ("a.jpg", VALUES, None, "it is a JPEG"),
        ("a.png", np.stack([VALUES] * 3 + [VALUES * 100], axis=2), None, "48 of its pixels are transparent"),
        ("a.png", np.stack([VALUES, VALUES, VALUES * 2], axis=2), None, "its mode is RGB"),
        ("a.png", VALUES.astype(np.uint16) * 65535, None, r"its values are 0\.\."),
    ],
)
def test_masks_whose_numbers_are_open_are_refused(tmp_path, name, pixels, palette, message):
    with pytest.raises(UnreadableFile, match=message):
        read_values(save(tmp_path / name, pixels, palette))


def test_colors_of_transparent_or_lossy_masks_are_refused(tmp_path):
    pixels = np.stack([VALUES] * 4, axis=2)
    with pytest.raises(UnreadableFile, match="transparent"):
        read_values(save(tmp_path / "a.png", pixels), in_color=True)
    with pytest.raises(UnreadableFile, match="JPEG"):
        read_values(save(tmp_path / "a.jpg", pixels[..., :3]), in_color=True)
