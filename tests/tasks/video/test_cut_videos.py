"""A video that plays is read, however it was cut; one that was cut short is named."""

import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from av.stream import Disposition
from PIL import Image

from vertebra.tasks.loading.files import faults
from vertebra.tasks.video.check import check_videos
from vertebra.tasks.video.decoding import open_video
from vertebra.tasks.video.video import UnreadableVideo

OPEN_GOP = {"x264-params": "open-gop=1:bframes=3:keyint=12:min-keyint=12:scenecut=0"}


def frames(file, numbers_of):
    """Numbers of all frames and their times; single frames are those of the whole."""
    with open_video(str(file)) as video:
        count = len(video.timestamps)
        found = numbers_of(video.read(np.arange(count)))
        assert numbers_of(video.read(np.array([count - 1, 0, count // 2]))) == [found[-1], found[0], found[count // 2]]
        assert video.timestamps[0] == 0
        return found, video.timestamps


def copied(source, file, drop=0, shift=Fraction(0), **options):
    """Copy the packets of a video behind the first few, later or earlier by some seconds."""
    with av.open(str(source)) as before, av.open(str(file), "w", options=options) as after:
        stream = after.add_stream_from_template(before.streams.video[0])
        for number, packet in enumerate(before.demux(before.streams.video[0])):
            if packet.dts is None or number < drop:
                continue
            packet.pts += int(shift / packet.time_base)
            packet.dts += int(shift / packet.time_base)
            packet.stream = stream
            after.mux(packet)
    return file


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
@pytest.mark.parametrize(("drop", "first"), [(5, 12), (13, 24), (24, 24)])
def test_a_cut_that_begins_between_two_keyframes(write_video, numbers_of, tmp_path, suffix, drop, first):
    file = copied(write_video(tmp_path / "a.mp4"), tmp_path / f"b.{suffix}", drop)
    found, times = frames(file, numbers_of)
    assert found == list(range(first, 40))
    np.testing.assert_allclose(np.diff(times), 0.1, atol=1e-3)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize(("drop", "first"), [(12, 12), (15, 24)])
def test_frames_with_missing_references_are_not_displayed(write_video, numbers_of, tmp_path, suffix, drop, first):
    file = copied(write_video(tmp_path / "a.mp4", options=OPEN_GOP), tmp_path / f"b.{suffix}", drop)
    assert frames(file, numbers_of)[0] == list(range(first, 40))


@pytest.mark.parametrize("suffix", ["mp4", "mov"])
def test_an_edit_list_trims_the_head(write_video, numbers_of, tmp_path, suffix):
    file = copied(
        write_video(tmp_path / "a.mp4"), tmp_path / f"b.{suffix}", shift=Fraction(-17, 10), avoid_negative_ts="disabled"
    )
    found, times = frames(file, numbers_of)
    assert found == list(range(17, 40))
    assert times[-1] == pytest.approx(2.2)


def test_an_edit_list_trims_the_tail(write_video, numbers_of, tmp_path):
    file = write_video(tmp_path / "a.mp4")
    content = bytearray(file.read_bytes())
    scale = struct.unpack_from(">I", content, content.index(b"mvhd") + 16)[0]
    struct.pack_into(">I", content, content.index(b"elst") + 12, int(2.5 * scale))
    file.write_bytes(content)
    assert frames(file, numbers_of)[0] == list(range(25))


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_a_video_that_begins_late(write_video, numbers_of, tmp_path, suffix):
    file = copied(write_video(tmp_path / "a.mp4"), tmp_path / f"b.{suffix}", shift=Fraction(35))
    assert frames(file, numbers_of)[0] == list(range(40))


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.webm", "libvpx", {}),
        ("a.mkv", "libx264", {}),
        ("a.flv", "libx264", {}),
        ("a.avi", "libx264", {"bf": "3"}),  # whose packets have no presentation times
        ("a.avi", "mpeg4", {"bf": "2"}),
        ("a.h264", "libx264", {}),  # no times at all
        ("a.ts", "libx264", {}),
    ],
)
def test_containers(write_video, numbers_of, tmp_path, name, codec, options):
    assert frames(write_video(tmp_path / name, codec=codec, options=options), numbers_of)[0] == list(range(40))


def test_a_live_recording_has_no_duration_in_its_header(write_video, numbers_of, tmp_path):
    file = write_video(tmp_path / "a.mkv", container_options={"live": "1"})
    assert frames(file, numbers_of)[0] == list(range(40))


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_audio_may_be_longer_than_video(write_video, numbers_of, tmp_path, suffix):
    file = write_video(tmp_path / f"a.{suffix}", count=3, audio=True)  # 0.3 s of pictures, 1 s of sound
    assert frames(file, numbers_of)[0] == [0, 1, 2]


def test_a_cover_picture_is_not_a_video_stream(numbers_of, tmp_path, write_video):
    source = write_video(tmp_path / "a.mp4", count=5)
    with av.open(str(source)) as before, av.open(str(tmp_path / "b.mp4"), "w") as after:
        cover = after.add_stream("png", rate=1)
        cover.width, cover.height, cover.pix_fmt, cover.disposition = 8, 8, "rgb24", Disposition.attached_pic
        stream = after.add_stream_from_template(before.streams.video[0])
        frame = av.VideoFrame.from_ndarray(np.zeros((8, 8, 3), np.uint8), format="rgb24")
        frame.pts, frame.time_base = 0, Fraction(1, 10)
        after.mux([*cover.encode(frame), *cover.encode(None)])
        for packet in before.demux(before.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                after.mux(packet)
    assert frames(tmp_path / "b.mp4", numbers_of)[0] == list(range(5))


@pytest.mark.parametrize("name", ["a.mkv", "a.webm", "a.flv", "a.avi", "a.mp4"])
def test_truncated_files_are_errors(write_video, tmp_path, name):
    codec = {"webm": "libvpx", "avi": "mpeg4"}.get(name[2:], "libx264")
    options = {"movflags": "faststart"} if name == "a.mp4" else {}
    file = write_video(tmp_path / name, count=60, codec=codec, container_options=options)
    file.write_bytes(file.read_bytes()[: int(0.7 * file.stat().st_size)])
    with pytest.raises(UnreadableVideo, match=rf"{name}: .*(ends|is no video).*Copy it again"):
        open_video(str(file))


def gif(file, count=12):
    noise = np.random.default_rng(0).integers(0, 256, (count, 20, 30), dtype=np.uint8)
    pictures = [Image.fromarray(picture) for picture in noise]
    pictures[0].save(file, save_all=True, append_images=pictures[1:], duration=100)
    return file


@pytest.mark.parametrize("suffix", ["ts", "m2ts", "gif"])
def test_an_abrupt_end_is_named_where_no_header_has_the_length(write_video, tmp_path, suffix):
    whole = tmp_path / f"whole.{suffix}"
    if suffix == "gif":
        gif(whole)
    else:
        copied(write_video(tmp_path / "a.mp4"), whole, mpegts_m2ts_mode=str(int(suffix == "m2ts")))
    assert list(check_videos([str(whole)])) == []
    content = whole.read_bytes()
    packet = {"ts": 188, "m2ts": 192, "gif": 1}[suffix]
    assert len(content) % packet == 0
    cut = tmp_path / f"cut.{suffix}"
    for fraction in (0.4, 0.45, 0.5, 0.7, 0.9):
        cut.write_bytes(content[: int(fraction * len(content)) // packet * packet + 50])
        (fault,) = check_videos([str(cut)])
        if suffix == "gif" and fault.kind == faults.UNREADABLE_VIDEO:
            continue  # FFmpeg refuses the part of a frame, or leaves it out
        assert fault.kind == faults.ABRUPT_END
        assert "breaks off within a " in fault.message
        with open_video(str(cut)) as video:  # it plays, so that training reads it
            assert len(video.timestamps) > 3


def test_a_gif_without_trailer_or_with_an_appendix_is_whole(tmp_path):
    file = gif(tmp_path / "a.gif")
    content = file.read_bytes()
    assert content[-1] == 0x3B
    for end in (content[:-1], content + bytes(40)):
        file.write_bytes(end)
        assert list(check_videos([str(file)])) == []
