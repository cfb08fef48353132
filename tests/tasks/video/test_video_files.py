"""Which files and folders are videos, and in which order their frames come."""

import numpy as np
import pytest
from PIL import Image

from vertebra.tasks.loading.class_folders import read_folders
from vertebra.tasks.video.check import check_videos
from vertebra.tasks.video.decoding import open_video
from vertebra.tasks.video.formats import read_labeled_videos
from vertebra.tasks.video.video import UnreadableVideo
from vertebra.tasks.video.video_files import VIDEO_SUFFIXES, find_videos, holds_frame_folders, videos_below


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def draw(folder, numbers, name="frame{}.png", size=(6, 4)):
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        Image.new("RGB", size, (10 * number, 0, 0)).save(folder / name.format(number))
    return folder


def shown(folder):
    with open_video(str(folder)) as video:
        frames = video.read(np.arange(len(video.timestamps)))
        return (frames[:, 0, 0, 0] / 10).tolist(), (video.timestamps * 25).round(6).tolist()


def test_frames_come_in_natural_order(tmp_path):
    assert shown(draw(tmp_path / "a", range(1, 13))) == (list(range(1, 13)), list(range(12)))
    assert shown(draw(tmp_path / "b", range(8, 12), "{:04d}.png"))[0] == [8, 9, 10, 11]


def test_a_gap_in_frame_numbers_is_a_gap_in_time(tmp_path):
    assert shown(draw(tmp_path / "gap", (1, 2, 4))) == ([1, 2, 4], [0, 1, 3])
    assert shown(draw(tmp_path / "fifth", (5, 10, 15))) == ([5, 10, 15], [0, 1, 2])
    assert shown(draw(tmp_path / "one", (7,))) == ([7], [0])
    folder = draw(tmp_path / "words", (1, 2), "{}st.png")
    Image.new("RGB", (6, 4), (30, 0, 0)).save(folder / "last.png")
    assert shown(folder) == ([1, 2, 3], [0, 1, 2])


def test_suffixes_may_differ_but_frame_numbers_must_be_unique(tmp_path):
    folder = draw(draw(tmp_path / "a", (1, 3)), (2,), "frame{}.bmp")
    assert shown(folder) == ([1, 2, 3], [0, 1, 2])
    draw(folder, (3,), "frame{:03d}.png")
    with pytest.raises(UnreadableVideo, match=r"a: frame003\.png and frame3\.png are both frame 3; expected one"):
        shown(folder)


def test_hidden_files_and_subfolders_are_no_frames(tmp_path):
    folder = draw(tmp_path / "a", (1, 2))
    touch(folder, "._frame1.png", "Thumbs.db", ".ipynb_checkpoints/frame1.png", "masks/frame1.png")
    assert shown(folder)[0] == [1, 2]


@pytest.mark.parametrize("suffix", [".mp4", ".MPG", ".ts", ".flv", ".ogv", ".3gp", ".gif", ".h264", ".mts", ".m2ts"])
def test_suffixes_that_ffmpeg_reads_are_listed(tmp_path, suffix):
    touch(tmp_path, f"run/a{suffix}")
    assert suffix.lower() in VIDEO_SUFFIXES
    assert find_videos([str(tmp_path)]) == [str(tmp_path / "run" / f"a{suffix}")]
    assert len(read_labeled_videos(tmp_path, ".")[0]) == 1


def test_folders_of_frames_are_videos(tmp_path):
    for name in ("run/1", "run/2", "run/10", "jump/a"):
        draw(tmp_path / name, (1, 2))
    touch(tmp_path, "jump/b.mp4", "jump/cover.png", "jump/notes/a.txt", "jump/c/poster.png", "jump/c/c.mkv")
    labeled, found = read_folders(tmp_path, VIDEO_SUFFIXES, find=videos_below)
    names = [name.removeprefix(f"{tmp_path}/") for name in labeled.names.tolist()]
    assert names == ["jump/b.mp4", "jump/a", "jump/c/c.mkv", "run/1", "run/2", "run/10"]
    assert found == []
    assert find_videos([str(tmp_path / "run" / "10")]) == [str(tmp_path / "run" / "10")]
    assert len(find_videos([str(tmp_path / "run")])) == 3


def test_lists_without_a_head_name_folders_of_frames(tmp_path):
    draw(tmp_path / "v1" / "00", (1, 2))
    (tmp_path / "list.csv").write_text("v1/00,left\n")
    (tmp_path / "list.txt").write_text("v1/00 left\n")
    for source in ("list.csv", "list.txt"):
        videos, _ = read_labeled_videos(tmp_path, source)
        assert videos.names.tolist() == [str(tmp_path / "v1" / "00")]
        assert videos.class_names == ("left",)


def test_folders_of_frames_and_folders_of_images_differ(tmp_path):
    for name in ("run/1", "jump/2"):
        draw(tmp_path / "videos" / name, (1, 2))
        draw(tmp_path / "images" / name, (1, 2))
    touch(tmp_path / "images", "run/3.png")
    touch(tmp_path / "named", "cats/white/tom.png", "cats/white/kit.png")
    assert holds_frame_folders(tmp_path / "videos")
    assert not holds_frame_folders(tmp_path / "images")
    assert not holds_frame_folders(tmp_path / "named")


def test_every_frame_of_a_folder_is_checked(tmp_path):
    good = draw(tmp_path / "good", range(1, 6))
    cut = draw(tmp_path / "cut", range(1, 6))
    (cut / "frame3.png").write_bytes((cut / "frame3.png").read_bytes()[:40])
    sizes = draw(draw(tmp_path / "sizes", (1, 3)), (2,), size=(4, 6))
    found = list(check_videos([str(good), str(cut), str(sizes)]))
    assert [fault.file for fault in found] == [str(cut), str(sizes)]
    assert "frame3.png" in found[0].message
    assert "frame2.png is 4 x 6 pixels (width x height), frame1.png is 6 x 4" in found[1].message


def test_an_empty_prediction_set_is_an_error(tmp_path):
    touch(tmp_path, "a.txt")
    with pytest.raises(ValueError, match=r"the folder holds 1 file \(\.txt 1\); expected videos"):
        find_videos([str(tmp_path)])
    with pytest.raises(FileNotFoundError, match="gone does not exist"):
        find_videos([str(tmp_path / "gone")])
