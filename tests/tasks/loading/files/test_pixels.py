import cv2
import numpy as np
import pytest
from PIL import Image

from vertebra.tasks.loading.files.image_errors import UnreadableImage
from vertebra.tasks.loading.files.images import decode_image, read_for_display, read_image
from vertebra.tasks.loading.files.pixels import Pixels
from vertebra.tasks.loading.files.resizing import resized

GRAY_12 = np.array([[0, 16, 2048], [4095, 1024, 3000]], dtype=np.uint16)


def saved(path, values, **options):
    Image.fromarray(values).save(path, **options)
    return path


def saved_16(path, colors):
    """RGB or RGBA of 16 bits, which Pillow does not write."""
    cv2.imwrite(str(path), colors[..., [2, 1, 0, 3][: colors.shape[2]]])
    return path


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_12_bits_in_16_are_refused_until_white_is_given(tmp_path, name):
    file = saved(tmp_path / name, GRAY_12)
    for read in (read_image, decode_image):
        with pytest.raises(UnreadableImage, match=r"0\.\.4095, fill little.*data\.pixels\.white=4095 if these are 12"):
            read(file)
    found = read_image(file, Pixels(white=4095))
    np.testing.assert_array_equal(found[..., 1], np.rint(GRAY_12 / 4095 * 255))
    assert found.shape == (2, 3, 3)
    assert read_image(file, Pixels(white=65535))[..., 0].max() == 16  # where its owner says so


def test_the_scale_is_that_of_the_data_set_and_not_of_the_file(tmp_path):
    dark = saved(tmp_path / "dark.png", GRAY_12 // 4)
    bright = saved(tmp_path / "bright.png", GRAY_12)
    rule = Pixels(white=4095)
    assert read_image(dark, rule).max() == 64
    assert read_image(bright, rule).max() == 255


@pytest.mark.parametrize("largest", [16384, 40000, 65535])
def test_true_16_bits_need_no_flag(tmp_path, largest):
    file = saved(tmp_path / "a.png", np.array([[0, largest]], dtype=np.uint16))
    np.testing.assert_array_equal(read_image(file)[0, :, 0], [0, round(largest / 257)])


def test_an_empty_picture_of_16_bits_is_black(tmp_path):
    assert read_image(saved(tmp_path / "a.png", np.zeros((2, 2), np.uint16))).max() == 0


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_colors_of_16_bits(tmp_path, name):
    colors = np.random.default_rng(0).integers(0, 4096, (5, 6, 3)).astype(np.uint16)
    file = saved_16(tmp_path / name, colors)
    with pytest.raises(UnreadableImage, match="fill little"):
        read_image(file)
    np.testing.assert_array_equal(read_image(file, Pixels(white=4095)), np.rint(colors / 4095 * 255))
    np.testing.assert_array_equal(read_image(saved_16(file, colors * 16)), (colors * 16 + 128) // 257)
    assert decode_image(file) == ((5, 6), (5, 6))


def test_colors_of_16_bits_with_alpha_are_over_white(tmp_path):
    colors = np.array([[[65535, 0, 0, 65535], [0, 0, 0, 0], [0, 0, 0, 13107]]], dtype=np.uint16)
    found = read_image(saved_16(tmp_path / "a.png", colors))
    np.testing.assert_array_equal(found, [[[255, 0, 0], [255, 255, 255], [204, 204, 204]]])
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", Pixels(channels=4, white=65535))[0, 2], [0, 0, 0, 51])


def test_a_png_of_16_bit_colors_that_is_cut_short_is_named(tmp_path):
    noise = np.random.default_rng(0).integers(0, 65535, (64, 64, 3)).astype(np.uint16)
    file = saved_16(tmp_path / "a.png", noise)
    file.write_bytes(file.read_bytes()[:9000])
    with pytest.raises(UnreadableImage, match=r"a\.png: cannot be decoded"):
        read_image(file)


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.uint32, np.float64])
def test_what_has_no_known_white_is_refused_and_read_with_it(tmp_path, write_tiff, dtype):
    values = np.arange(12, dtype=dtype).reshape(3, 4, 1)
    file = write_tiff(tmp_path / "a.tif", values)
    for read in (read_image, decode_image):
        with pytest.raises(UnreadableImage, match=r"a\.tif: .*have no known white; .*data\.pixels\.white="):
            read(file)
    found = read_image(file, Pixels(white=11, black=1))
    np.testing.assert_array_equal(found[..., 0], np.rint(np.clip(values[..., 0] - 1.0, 0, 10) * 25.5))


def test_negative_values_have_a_black(tmp_path, write_tiff):
    decibels = np.array([[[-30.0], [-15.0], [0.0], [-99.0]]], dtype=np.float32)
    file = write_tiff(tmp_path / "a.tif", decibels)
    np.testing.assert_array_equal(read_image(file, Pixels(white=0, black=-30))[0, :, 0], [0, 128, 255, 0])


def test_values_that_are_no_numbers_are_refused(tmp_path, write_tiff):
    file = write_tiff(tmp_path / "a.tif", np.array([[[0.5], [np.nan]]], dtype=np.float32))
    with pytest.raises(UnreadableImage, match="1 of its values are NaN or infinite"):
        read_image(file, Pixels(white=1))


def test_bands_are_read_for_so_many_channels(tmp_path, write_tiff):
    values = np.random.default_rng(0).integers(0, 3000, (5, 6, 7)).astype(np.uint16)
    file = write_tiff(tmp_path / "a.tif", values)
    for read in (read_image, decode_image):
        with pytest.raises(UnreadableImage, match=r"holds 7 bands.*data\.pixels\.channels=7 and model\.network\.in_ch"):
            read(file)
        with pytest.raises(UnreadableImage, match=r"has 7 bands, but data\.pixels\.channels is 4"):
            read(file, Pixels(channels=4, white=3000))
    np.testing.assert_array_equal(read_image(file, Pixels(channels=7, white=3000)), np.rint(values / 3000 * 255))
    each = Pixels(channels=7, white=[1000.0 * (k + 1) for k in range(7)])
    expected = np.rint(np.minimum(values / (1000 * np.arange(1, 8)), 1) * 255)
    np.testing.assert_array_equal(read_image(file, each), expected)


def test_a_fourth_band_is_not_taken_for_transparency(tmp_path, write_tiff):
    colors = np.random.default_rng(0).integers(0, 255, (5, 6, 4)).astype(np.uint8)
    file = write_tiff(tmp_path / "a.tif", colors, rgb=True)
    with pytest.raises(UnreadableImage, match=r"holds a fourth band beside red, green and blue.*channels=4"):
        read_image(file)
    np.testing.assert_array_equal(read_image(file, Pixels(channels=4)), colors)
    colors[..., 3] = 255  # all of it is opaque, which changes nothing
    np.testing.assert_array_equal(read_image(write_tiff(file, colors, rgb=True)), colors[..., :3])


def test_several_pages_are_not_taken_for_the_first(tmp_path):
    pages = [Image.new("L", (4, 3), value) for value in (10, 20, 30)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(UnreadableImage, match=r"holds 3 pages.*channels=3"):
        read_image(tmp_path / "a.tif")
    assert read_image(tmp_path / "a.tif", Pixels(channels=3))[0, 0].tolist() == [10, 20, 30]


@pytest.mark.parametrize(
    ("mode", "name", "channels", "expected"),
    [
        ("L", "a.png", 1, [200]),
        ("1", "a.png", 1, [255]),
        ("LA", "a.png", 2, [200, 100]),
        ("P", "a.png", 3, [200, 100, 50]),
        ("RGB", "a.bmp", 3, [200, 100, 50]),
        ("RGBA", "a.png", 4, [200, 100, 50, 100]),
        ("CMYK", "a.tif", 4, [200, 100, 50, 100]),
        ("L", "a.tif", 1, [200]),
        ("1", "a.tif", 1, [255]),
    ],
)
def test_bands_as_stored_of_every_mode(tmp_path, mode, name, channels, expected):
    color = {"L": 200, "1": 255, "LA": (200, 100), "RGB": (200, 100, 50), "P": (200, 100, 50)}.get(
        mode, (200, 100, 50, 100)
    )
    image = Image.new("RGB" if mode == "P" else mode, (4, 3), color)
    (image.convert("P", palette=Image.Palette.ADAPTIVE) if mode == "P" else image).save(tmp_path / name)
    assert read_image(tmp_path / name, Pixels(channels=channels))[1, 2].tolist() == expected
    with pytest.raises(UnreadableImage, match=rf"has {channels} bands, but data\.pixels\.channels is 5"):
        decode_image(tmp_path / name, Pixels(channels=5))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_of_16_bits_is_that_of_8(tmp_path, orientation):
    values = np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6)
    tags = Image.Exif()
    tags[0x0112] = orientation
    for suffix in ("png", "tif"):
        plain = read_image(saved(tmp_path / f"8.{suffix}", values, exif=tags))
        deep = saved(tmp_path / f"16.{suffix}", values.astype(np.uint16) * 257, exif=tags)
        np.testing.assert_array_equal(read_image(deep), plain)
        np.testing.assert_array_equal(plain, read_image(tmp_path / "8.png"))
        Image.fromarray(values).convert("P").save(tmp_path / f"p.{suffix}", exif=tags)
        for rule in (Pixels(), Pixels(channels=3)):
            np.testing.assert_array_equal(read_image(tmp_path / f"p.{suffix}", rule), plain)
        assert decode_image(deep) == (plain.shape[:2], (4, 6))


def test_a_tiff_called_otherwise_and_another_image_called_tiff(tmp_path, write_tiff):
    write_tiff(tmp_path / "a.tif", np.full((3, 4, 5), 9, np.uint8)).rename(tmp_path / "b.tif")
    assert read_image(tmp_path / "b.tif", Pixels(channels=5)).shape == (3, 4, 5)
    Image.fromarray(np.full((3, 4), 65535, np.uint16)).save(tmp_path / "c.tif")
    (tmp_path / "c.tif").rename(tmp_path / "c.png")
    assert read_image(tmp_path / "c.png").min() == 255
    Image.new("RGB", (4, 3), "red").save(tmp_path / "d.png")
    (tmp_path / "d.png").rename(tmp_path / "d.tif")
    assert read_image(tmp_path / "d.tif")[0, 0].tolist() == [255, 0, 0]


def test_a_person_sees_something_of_every_image(tmp_path, write_tiff):
    bands = write_tiff(tmp_path / "a.tif", np.random.default_rng(0).normal(0, 1e4, (20, 30, 5)).astype(np.float32))
    gray = saved(tmp_path / "b.png", GRAY_12)
    for file, size in ((bands, (20, 30)), (gray, (2, 3))):
        shown = read_for_display(file)
        assert shown.shape == (*size, 3)
        assert shown.dtype == np.uint8
        assert shown.max() > 200
        assert shown.min() < 50
    with pytest.raises(UnreadableImage):
        read_for_display(tmp_path / "missing.png")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"channels": 0}, "channels is 0"),
        ({"white": 0.0}, "white must be above black"),
        ({"white": 1.0, "black": 2.0}, "white must be above black"),
        ({"channels": 4, "white": [1.0, 2.0]}, "2 values for 4 channels"),
    ],
)
def test_rules_that_make_no_sense(options, reason):
    with pytest.raises(ValueError, match=reason):
        Pixels(**options)


@pytest.mark.parametrize("size", [(5, 7), (60, 30), (20, 40)])
@pytest.mark.parametrize("channels", [1, 2, 3, 5, 200])
def test_every_channel_is_resized_alike(channels, size):
    image = np.random.default_rng(0).integers(0, 256, (20, 40, channels), dtype=np.uint8)
    found = resized(image, *size)
    assert found.shape == (*size, channels)
    last = np.ascontiguousarray(image[..., -1:])
    np.testing.assert_allclose(found[..., -1:].astype(int), resized(last, *size).astype(int), atol=1)
