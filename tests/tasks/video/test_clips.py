"""Which frames make a clip, and what is done to all of them alike."""

import albumentations as A
import numpy as np
import pytest

from vertebra.tasks.video.sampling import Dense, Segments
from vertebra.tasks.video.transforms import Augment, Resize


@pytest.mark.parametrize("num_frames", [1, 2, 7, 15, 16, 31, 32, 100])
@pytest.mark.parametrize("sampling", [Dense(8, 2), Dense(4, 1), Segments(8), Segments(3), Dense(1, 1)])
def test_frames_are_in_the_video_and_in_order(sampling, num_frames):
    rng = np.random.default_rng(0)
    clips = [sampling.random(num_frames, rng) for _ in range(50)]
    clips += [*sampling.uniform(num_frames, 1), *sampling.uniform(num_frames, 4), *sampling.sliding(num_frames)]
    for clip in clips:
        assert clip.shape == (sampling.frames,)
        assert clip.dtype == np.int64
        assert 0 <= clip.min() <= clip.max() < num_frames
        assert (np.diff(clip) >= 0).all()


def test_dense_clips_cover_all_positions_and_both_ends():
    sampling, rng = Dense(4, 3), np.random.default_rng(0)
    starts = {int(sampling.random(20, rng)[0]) for _ in range(300)}
    assert starts == set(range(11))
    assert sampling.uniform(20, 3).tolist() == [[0, 3, 6, 9], [5, 8, 11, 14], [10, 13, 16, 19]]
    assert sampling.uniform(20, 1).tolist() == [[5, 8, 11, 14]]
    assert sampling.uniform(6, 2).tolist() == [[0, 3, 5, 5]] * 2  # the last frame stays


def test_sliding_clips_cover_every_frame():
    for num_frames in (5, 16, 33, 100, 101):
        clips = Dense(8, 1).sliding(num_frames)
        assert set(np.unique(clips)) == set(range(num_frames))
    assert len(Segments(8).sliding(1000)) == 1


def test_segments_have_a_frame_each():
    rng = np.random.default_rng(0)
    for _ in range(50):
        assert (Segments(8).random(80, rng) // 10 == np.arange(8)).all()
    assert Segments(4).uniform(8, 1).tolist() == [[1, 3, 5, 7]]
    assert Segments(4).uniform(8, 2).tolist() == [[0, 2, 4, 6], [1, 3, 5, 7]]


@pytest.mark.parametrize("build", [lambda: Dense(0), lambda: Dense(4, 0), lambda: Segments(0)])
def test_empty_clips_are_refused(build):
    with pytest.raises(ValueError, match="1 or more"):
        build()


def test_crops_are_central_or_along_the_longer_side():
    frames = np.arange(40, dtype=np.uint8)[None, None, :, None].repeat(3, 3).repeat(20, 1).repeat(2, 0)
    assert frames.shape == (2, 20, 40, 3)
    middle = Resize((20, 20))(frames)
    assert middle.shape == (1, 2, 20, 20, 3)
    assert middle[0, 0, 0, [0, -1], 0].tolist() == [10, 29]
    three = Resize((20, 20), crops=3)(frames)
    assert three[:, 0, 0, 0, 0].tolist() == [0, 10, 20]
    np.testing.assert_array_equal(three[1], middle[0])
    upright = Resize((20, 20), crops=3)(frames.transpose(0, 2, 1, 3))
    assert upright[:, 0, 0, 0, 0].tolist() == [0, 10, 20]
    assert Resize((10, 10), squeeze=True)(frames)[0, 0, 0, [0, -1], 0].tolist() == pytest.approx([1, 38], abs=1)
    with pytest.raises(ValueError, match="crops 2"):
        Resize(crops=2)


def still(size=(30, 40), frames=5) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (1, *size, 3), dtype=np.uint8).repeat(frames, 0)


def test_all_frames_of_a_clip_are_augmented_alike():
    transforms = [A.RandomResizedCrop(size=(20, 20)), A.ColorJitter(p=1.0), A.Rotate((-20, 20), p=1.0)]
    augment = Augment(transforms, Resize((20, 20)))
    seen = set()
    for seed in range(6):
        clip = augment(still(), 0, seed)
        assert clip.shape == (5, 20, 20, 3)
        assert (clip == clip[:1]).all()
        np.testing.assert_array_equal(augment(still(), 0, seed), clip)
        seen.add(clip.tobytes())
    assert len(seen) == 6


def test_no_flip_classes_are_not_flipped():
    frames = still((20, 20))
    augment = Augment([], Resize((20, 20)), flip=0.5, no_flip_classes=frozenset({1}))
    flipped = [not np.array_equal(augment(frames, 0, seed), frames) for seed in range(200)]
    assert 0.35 < np.mean(flipped) < 0.65
    assert all(np.array_equal(augment(frames, 1, seed), frames) for seed in range(50))
    np.testing.assert_array_equal(Augment([], Resize((20, 20)), flip=1.0)(frames, 0, 0), frames[:, :, ::-1])
    with pytest.raises(ValueError, match="flip is 2"):
        Augment([], Resize(), flip=2)
