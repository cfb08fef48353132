import numpy as np
import pytest
from PIL import Image

from vertebra.tasks.loading.files.image_errors import UnreadableImage
from vertebra.tasks.loading.files.image_files import find_images
from vertebra.tasks.loading.files.image_headers import image_size
from vertebra.tasks.loading.files.images import decode_image, read_image

HEIGHT, WIDTH = 24, 40


@pytest.fixture
def picture():
    """Red above, blue to the lower left, green to the lower right: every turn of it is another picture."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    pixels[: HEIGHT // 2] = (255, 0, 0)
    pixels[HEIGHT // 2 :, : WIDTH // 2] = (0, 0, 255)
    pixels[HEIGHT // 2 :, WIDTH // 2 :] = (0, 255, 0)
    return pixels


def saved(path, pixels, **options):
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(path, **options)
    return path


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


# as the EXIF standard has it: how the stored rows and columns become the picture, and thus how it is stored
STORED = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.transpose(1, 0, 2),
    6: lambda x: np.rot90(x, 1),
    7: lambda x: x[::-1, ::-1].transpose(1, 0, 2),
    8: lambda x: np.rot90(x, -1),
}


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
@pytest.mark.parametrize("orientation", STORED)
def test_exif_orientation_is_applied(tmp_path, picture, orientation, suffix):
    stored = np.ascontiguousarray(STORED[orientation](picture))
    options = {"quality": 100, "subsampling": 0} if suffix == ".jpg" else {}
    file = saved(tmp_path / f"a{suffix}", stored, exif=exif(orientation), **options)
    np.testing.assert_allclose(read_image(file).astype(int), picture, atol=3 if suffix == ".jpg" else 0)
    assert image_size(file) == (HEIGHT, WIDTH)
    assert decode_image(file) == ((HEIGHT, WIDTH), stored.shape[:2])


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_exif_is_passed_over(tmp_path, picture):
    file = saved(tmp_path / "a.png", picture, exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    np.testing.assert_array_equal(read_image(file), picture)


def test_result_is_writable_rgb(tmp_path, picture):
    pixels = read_image(saved(tmp_path / "a.png", picture))
    pixels += 0
    assert pixels.dtype == np.uint8
    assert pixels.shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_gray_of_16_bits_keeps_black_and_white(tmp_path, suffix):
    values = np.array([[0, 257, 65535], [128 * 257, 128, 129]], dtype=np.uint16)
    pixels = read_image(saved(tmp_path / f"a{suffix}", values))
    np.testing.assert_array_equal(pixels[..., 0], [[0, 1, 255], [128, 0, 1]])
    np.testing.assert_array_equal(pixels[..., 0], pixels[..., 2])


@pytest.mark.parametrize("mode", ["L", "1"])
def test_gray_is_repeated(tmp_path, mode):
    values = np.array([[0, 255], [255, 0]], dtype=np.uint8)
    pixels = read_image(saved(tmp_path / "a.png", Image.fromarray(values).convert(mode)))
    np.testing.assert_array_equal(pixels, np.repeat(values[..., None], 3, axis=2))


def test_transparency_is_over_white(tmp_path):
    pixels = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 0, 0, 51]]], dtype=np.uint8)
    expected = [[[10, 20, 30], [255, 255, 255], [204, 204, 204]]]
    np.testing.assert_array_equal(read_image(saved(tmp_path / "a.png", pixels)), expected)


def test_gray_with_alpha_is_over_white(tmp_path):
    image = Image.merge("LA", [Image.new("L", (3, 2), 7), Image.new("L", (3, 2), 0)])
    assert (read_image(saved(tmp_path / "a.png", image)) == 255).all()


@pytest.mark.parametrize("suffix", [".png", ".gif"])
def test_palette(tmp_path, picture, suffix):
    image = Image.fromarray(picture).convert("P", palette=Image.Palette.ADAPTIVE, colors=4)
    np.testing.assert_array_equal(read_image(saved(tmp_path / f"a{suffix}", image)), picture)


def test_transparent_color_of_a_palette_is_white(tmp_path, picture):
    image = Image.fromarray(picture).convert("P", palette=Image.Palette.ADAPTIVE, colors=4)
    file = saved(tmp_path / "a.png", image, transparency=image.getpixel((0, 0)))
    pixels = read_image(file)
    assert (pixels[: HEIGHT // 2] == 255).all()
    np.testing.assert_array_equal(pixels[HEIGHT // 2 :], picture[HEIGHT // 2 :])


def test_cmyk_jpeg(tmp_path, picture):
    file = saved(tmp_path / "a.jpg", Image.fromarray(picture).convert("CMYK"), quality=100, subsampling=0)
    np.testing.assert_allclose(read_image(file).astype(int), picture, atol=3)


def test_float_pixels_are_refused(tmp_path):
    file = saved(tmp_path / "a.tif", np.zeros((2, 2), dtype=np.float32))
    with pytest.raises(UnreadableImage, match=r"a\.tif: .*no known white; give"):
        read_image(file)


def cut(path):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    data = saved(path, noise).read_bytes()
    path.write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize(
    ("name", "make", "reason"),
    [
        ("cut.jpg", cut, "truncated"),
        ("cut.png", cut, "cannot be decoded"),
        ("cut.tif", cut, "cannot be decoded"),
        ("cut.gif", cut, "truncated"),
        ("text.jpg", lambda path: path.write_text("<html>not found"), "begins with b'<html>not fo'"),
        ("empty.jpg", lambda path: path.touch(), "0 bytes"),
        ("missing.jpg", lambda path: None, "does not exist"),
        ("folder.jpg", lambda path: path.mkdir(), "a folder"),
    ],
)
def test_unreadable_images_say_why(tmp_path, name, make, reason):
    make(tmp_path / name)
    for read in (read_image, decode_image):
        with pytest.raises(UnreadableImage, match=rf"{name}: .*{reason}.*Replace the file"):
            read(tmp_path / name)


def test_size_is_read_from_the_header_alone(tmp_path, picture):
    file = saved(tmp_path / "a.jpg", picture)
    file.write_bytes(file.read_bytes()[:-200])
    assert image_size(file) == (HEIGHT, WIDTH)
    with pytest.raises(UnreadableImage):
        image_size(tmp_path / "missing.jpg")


def test_find_images(tmp_path):
    for name in ("b/2.JPG", "b/1.png", "a/3.jpeg", "a/notes.txt", "odd.dat"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = find_images([tmp_path / "odd.dat", tmp_path])
    assert [str(path.relative_to(tmp_path)) for path in found] == ["odd.dat", "a/3.jpeg", "b/1.png", "b/2.JPG"]
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        find_images([tmp_path / "nowhere"])
