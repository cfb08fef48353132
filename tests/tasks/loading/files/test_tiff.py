import numpy as np
import pytest
from PIL import Image

from vertebra.tasks.loading.files import tiff
from vertebra.tasks.loading.files.image_errors import UnreadableImage
from vertebra.tasks.loading.files.image_headers import image_size
from vertebra.tasks.loading.files.images import decode_image, read_image
from vertebra.tasks.loading.files.pixels import Pixels

TYPES = [np.uint8, np.uint16, np.int16, np.uint32, np.float32, np.float64]


def values_of(shape, dtype=np.uint16, seed=0):
    return (np.random.default_rng(seed).random(shape) * 250).astype(dtype)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("bands", [1, 2, 3, 4, 5, 13])
@pytest.mark.parametrize("dtype", TYPES)
def test_every_number_of_bands_and_every_type(tmp_path, write_tiff, dtype, bands, planar, order):
    values = values_of((7, 9, bands), dtype)
    found = tiff.read_values(write_tiff(tmp_path / "a.tif", values, planar=planar, order=order))
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits", "zstd", "lzma"])
@pytest.mark.parametrize(
    ("mode", "predictor"),  # libtiff has predictor 2 for whole numbers and 3 for floating-point ones
    [("L", 1), ("L", 2), ("RGB", 1), ("RGB", 2), ("I;16", 1), ("I;16", 2), ("F", 1), ("F", 3)],
)
def test_compressions_that_libtiff_writes(tmp_path, mode, compression, predictor):
    dtype = {"I;16": np.uint16, "F": np.float32}.get(mode, np.uint8)
    values = values_of((70, 90, 3) if mode == "RGB" else (70, 90), dtype)
    tags = {317: predictor} if predictor > 1 else {}
    Image.fromarray(values).save(tmp_path / "a.tif", compression=compression, tiffinfo=tags)
    np.testing.assert_array_equal(tiff.read_values(tmp_path / "a.tif").reshape(values.shape), values)


def test_pages_are_bands_and_overviews_are_none(tmp_path):
    pages = [Image.fromarray(values_of((6, 8), np.uint8, seed)) for seed in range(5)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    np.testing.assert_array_equal(tiff.read_values(tmp_path / "a.tif"), np.dstack(pages))
    smaller = pages[0].resize((4, 3))
    smaller.encoderinfo = {"tiffinfo": {254: 1}}
    pages[0].save(tmp_path / "b.tif", save_all=True, append_images=[smaller])
    np.testing.assert_array_equal(read_image(tmp_path / "b.tif")[..., 0], np.asarray(pages[0]))
    pages[0].save(tmp_path / "c.tif", save_all=True, append_images=[pages[1].resize((4, 3))])
    with pytest.raises(UnreadableImage, match=r"c\.tif: .*its pages differ: the first is 8 x 6 .*, another 4 x 3"):
        read_image(tmp_path / "c.tif", Pixels(channels=2))


@pytest.mark.parametrize("bands", [5, 3])
def test_a_file_that_is_cut_short_is_named(tmp_path, write_tiff, bands):
    file = write_tiff(tmp_path / "a.tif", values_of((40, 40, bands)))
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(UnreadableImage, match=r"a\.tif: cannot be decoded: .*truncated"):
        read_image(file, Pixels(channels=bands, white=255))


@pytest.mark.parametrize(
    ("tag", "value", "reason"),
    [
        (256, 0, "0 x 9 pixels"),
        (257, 1 << 30, "more than the"),
        (277, 0, "of 0 bands"),
        (259, 99, "number 99"),
        (258, 12, "12 bits"),
        (273, 1 << 31, "truncated"),
    ],
)
def test_tags_that_make_no_sense(tmp_path, write_tiff, tag, value, reason):
    file = write_tiff(tmp_path / "a.tif", values_of((9, 7, 1)))
    content = bytearray(file.read_bytes())
    place = next(place for place in range(10, 200, 12) if int.from_bytes(content[place : place + 2], "little") == tag)
    content[place + 8 : place + 12] = value.to_bytes(4, "little")
    file.write_bytes(content)
    with pytest.raises(UnreadableImage, match=rf"a\.tif: .*{reason}"):
        read_image(file, Pixels(channels=1, white=255))


def test_pages_in_a_circle(tmp_path, write_tiff):
    file = write_tiff(tmp_path / "a.tif", values_of((9, 7, 1)))
    content = bytearray(file.read_bytes())
    end = 10 + 12 * int.from_bytes(content[8:10], "little")
    content[end : end + 4] = (8).to_bytes(4, "little")
    file.write_bytes(content)
    with pytest.raises(UnreadableImage, match="page list is circular"):
        read_image(file)


def test_sizes_come_from_the_tags(tmp_path, write_tiff):
    file = write_tiff(tmp_path / "a.tif", values_of((9, 7, 5)))
    assert image_size(file) == (9, 7)
    assert decode_image(file, Pixels(channels=5, white=255)) == ((9, 7), (9, 7))
    (tmp_path / "b.tif").write_bytes(b"II*\0 not a TIFF")
    with pytest.raises(UnreadableImage, match=r"b\.tif: "):
        image_size(tmp_path / "b.tif")
