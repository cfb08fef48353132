import numpy as np

from vertebra.tasks.reporting.captions import captioned, contact_sheet, enlarged, labeled_tiles

PIXELS = np.full((40, 128, 3), 90, np.uint8)


def test_a_long_caption_keeps_its_beginning_and_a_path_its_end():
    text = "score >= 0.5: 1 of 47, and much more than fits"
    other = "score >= 0.5: 1 of 47, and other words to be cut"
    np.testing.assert_array_equal(captioned(PIXELS, [text])[:, :60], captioned(PIXELS, [other])[:, :60])
    ends = [captioned(PIXELS, [f"{folder}/of/photos/of/cats/1.jpg"], keeps_end=True) for folder in ("/home", "/media")]
    np.testing.assert_array_equal(*ends)


def test_a_caption_is_below_the_picture():
    found = captioned(PIXELS, ["one", "two"], [None, (255, 0, 0)])
    np.testing.assert_array_equal(found[:40], PIXELS)
    assert found.shape[0] > 40 + 2 * 14
    assert (found[40:] == (255, 0, 0)).all(axis=2).any()


def test_small_pictures_are_enlarged_by_whole_factors():
    assert enlarged(PIXELS).shape == (80, 256, 3)
    assert enlarged(np.zeros((300, 20, 3), np.uint8)).shape == (300, 20, 3)


def test_a_contact_sheet_has_every_picture_at_one_width():
    sheet = contact_sheet([np.full((40, side, 3), 90, np.uint8) for side in (128, 64, 32)], ["a", "b", "c"], width=160)
    assert sheet.shape[1] == 2 * (160 + 5)


def test_tiles_have_names_above_and_white_between_them():
    tile = np.full((40, 60, 3), 90, np.uint8)
    found = labeled_tiles({"truth": tile, "prediction": tile, "errors": tile}, columns=2)
    assert found.shape == (2 * (40 + 21) + 5, 2 * 60 + 5, 3)
    np.testing.assert_array_equal(found[21:61, :60], tile)
    assert (found[:21, :60] < 128).any()  # the name
    assert (found[:, 60:65] == 255).all()
