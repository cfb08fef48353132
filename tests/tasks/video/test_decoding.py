"""The frames that are asked for are those that come, whatever the file."""

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from vertebra.tasks.video.decoding import open_video
from vertebra.tasks.video.pyav_video import PyAVVideo
from vertebra.tasks.video.video import UnreadableVideo

DECODERS = ["pyav", "opencv"]


def read(file: Path, indices, decoder: str = "pyav") -> np.ndarray:
    with open_video(str(file), decoder) as video:
        return video.read(np.array(indices))


@pytest.mark.parametrize("decoder", [*DECODERS, "torchcodec"])
@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_every_decoder_gives_the_same_frames(decoder, codec, write_video, numbers_of, tmp_path):
    if decoder == "torchcodec":
        decoders = pytest.importorskip("torchcodec.decoders", exc_type=(ImportError, RuntimeError, OSError))
        assert decoders
    file = write_video(tmp_path / "a.mp4", codec=codec)
    with open_video(str(file), decoder) as video:
        np.testing.assert_allclose(video.timestamps, np.arange(40) / 10, atol=1e-6)
        for indices in ([0], [39], [5, 5, 4], [30, 2, 17, 38, 1], list(range(40)), [11, 12, 13], [24, 0]):
            assert numbers_of(video.read(np.array(indices))) == indices


def test_seeking_starts_at_the_last_keyframe(write_video, numbers_of, tmp_path):
    file = write_video(tmp_path / "a.mp4", count=200)

    class Counting:
        def __init__(self, container):
            self.container = container
            self.decoded = 0

        def __getattr__(self, name):
            return getattr(self.container, name)

        def decode(self, stream):
            for frame in self.container.decode(stream):
                self.decoded += 1
                yield frame

    with PyAVVideo(str(file)) as video:
        video.container = counting = Counting(video.container)
        assert numbers_of(video.read(np.array([150, 152]))) == [150, 152]
        assert counting.decoded <= 12
        counting.decoded = 0
        assert numbers_of(video.read(np.array([3, 190]))) == [3, 190]  # what lies between is passed over
        assert counting.decoded <= 24


def test_variable_frame_rate_keeps_timestamps(write_video, numbers_of, tmp_path):
    stamps = [0, 1, 2, 10, 11, 40, 41, 42, 43, 90]
    file = write_video(tmp_path / "a.mp4", count=10, stamps=stamps)
    with open_video(str(file)) as video:
        np.testing.assert_allclose(video.timestamps, np.array(stamps) / 10, atol=1e-6)
        assert numbers_of(video.read(np.array([9, 4, 0]))) == [9, 4, 0]


@pytest.mark.parametrize("decoder", DECODERS)
def test_odd_sizes_sound_and_single_frames(decoder, write_video, numbers_of, tmp_path):
    odd = read(write_video(tmp_path / "odd.mp4", size=(33, 71)), [7], decoder)
    assert odd.shape == (1, 33, 71, 3)
    assert numbers_of(odd) == [7]
    assert numbers_of(read(write_video(tmp_path / "loud.mp4", audio=True), [39, 0], decoder)) == [39, 0]
    with open_video(str(write_video(tmp_path / "one.mp4", count=1)), decoder) as video:
        assert len(video.timestamps) == 1
        assert numbers_of(video.read(np.array([0, 0]))) == [0, 0]


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize(("matrix", "turns"), [((0, 1, -1, 0), 3), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 1)])
def test_rotation_metadata_is_applied(decoder, matrix, turns, write_video, tmp_path):
    file = write_video(tmp_path / "a.mp4", count=3)
    plain = read(file, [1], decoder)
    content = bytearray(file.read_bytes())
    place = content.index(b"tkhd") + 4 + 40  # of the matrix in a header of version 0
    a, b, c, d = (value << 16 for value in matrix)
    struct.pack_into(">9i", content, place, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    turned = tmp_path / "turned.mp4"
    turned.write_bytes(content)
    expected = np.rot90(plain[0], turns)
    found = read(turned, [1], decoder)[0]
    assert found.shape == expected.shape
    np.testing.assert_allclose(found.astype(int), expected.astype(int), atol=3)


def test_a_folder_of_images_is_a_video(numbers_of, tmp_path, write_video):
    frames = read(write_video(tmp_path / "a.mp4", count=12), list(range(12)))
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"frame_{number:03d}.png")
    (tmp_path / "a.mp4").unlink()
    with open_video(str(tmp_path)) as video:
        assert len(video.timestamps) == 12
        assert numbers_of(video.read(np.array([11, 0, 5]))) == [11, 0, 5]
    Image.new("RGB", (5, 5)).save(tmp_path / "frame_003.png")
    with pytest.raises(UnreadableVideo, match="several sizes"):
        read(tmp_path, [2, 3])


BROKEN = {
    "gone": (None, "does not exist"),
    "zero bytes": (lambda whole: b"", r"empty \(0 bytes\)"),
    "text": (lambda whole: b"404 not found, sorry\n" * 50, "no video"),
    "an image": (lambda whole: cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes(), None),
    "cut short": (lambda whole: whole[: int(0.6 * len(whole))], "Copy it again"),
}


@pytest.mark.parametrize("faststart", [False, True])
@pytest.mark.parametrize("fault", BROKEN)
def test_broken_files_are_named(fault, faststart, write_video, tmp_path):
    file = write_video(
        tmp_path / "broken.mp4", count=60, container_options={"movflags": "faststart"} if faststart else {}
    )
    change, message = BROKEN[fault]
    if change is None:
        file.unlink()
    else:
        file.write_bytes(change(file.read_bytes()))
    if fault == "an image":  # FFmpeg shows it as a video of one frame
        assert read(file, [0]).shape == (1, 8, 8, 3)
        return
    with pytest.raises(UnreadableVideo, match=rf"broken\.mp4: .*{message}"):
        read(file, [0, 59])


def test_a_corrupted_file_is_an_error_or_is_read(write_video, tmp_path):
    """Never half of it in silence, and never a hang."""
    file = write_video(tmp_path / "a.mp4", count=60)
    content = bytearray(file.read_bytes())
    start = content.index(b"mdat") + 3000
    content[start : start + 400] = bytes(400)
    file.write_bytes(content)
    outcome = ""
    try:
        frames = read(file, list(range(60)))
    except UnreadableVideo as error:
        outcome = str(error)
    assert "a.mp4" in outcome if outcome else frames.shape == (60, 24, 64, 3)


def test_a_file_with_audio_only_is_no_video(tmp_path, write_video):
    import av

    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        sound = container.add_stream("aac", rate=8000, layout="mono")
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        samples.sample_rate = 8000
        container.mux(sound.encode(samples))
        container.mux(sound.encode(None))
    with pytest.raises(UnreadableVideo, match="has no video stream"):
        read(tmp_path / "a.mp4", [0])


def test_an_unknown_decoder_is_refused(write_video, tmp_path):
    with pytest.raises(ValueError, match="choose pyav, opencv or torchcodec"):
        open_video(str(write_video(tmp_path / "a.mp4", count=2)), "vlc")
