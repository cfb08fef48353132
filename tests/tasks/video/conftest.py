"""Small video files whose frames tell their own numbers."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

BITS, BLOCK = 8, 8


def numbered_frame(number: int, height: int = 24, width: int = 64) -> np.ndarray:
    """A frame with its number in black and white blocks, the smallest bit first."""
    frame = np.full((height, width, 3), 110, np.uint8)
    for bit in range(BITS):
        frame[:BLOCK, bit * BLOCK : (bit + 1) * BLOCK] = 235 if number >> bit & 1 else 20
    return frame


@pytest.fixture
def numbers_of() -> Callable[[np.ndarray], list[int]]:
    """Read the numbers back from frames (T, H, W, 3)."""

    def read(frames: np.ndarray) -> list[int]:
        blocks = frames[:, 2 : BLOCK - 2, : BITS * BLOCK].reshape(len(frames), -1, BITS, BLOCK, 3)
        bits = blocks[:, :, :, 2:-2].mean(axis=(1, 3, 4)) > 128
        return (bits << np.arange(BITS)).sum(axis=1).tolist()

    return read


@pytest.fixture
def write_video() -> Callable[..., Path]:
    """Write a file of numbered frames."""

    def write(
        file: Path,
        count: int = 40,
        size: tuple[int, int] = (24, 64),
        stamps: Sequence[int] | None = None,
        audio: bool = False,
        codec: str = "libx264",
        options: dict[str, str] | None = None,
        container_options: dict[str, str] | None = None,
    ) -> Path:
        file.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(file), "w", options=container_options or {}) as container:
            stream = container.add_stream(codec, rate=10, options=options or {})
            stream.height, stream.width = size
            stream.pix_fmt = "yuv444p" if any(side % 2 for side in size) else "yuv420p"
            if codec == "libx264":
                stream.codec_context.gop_size = 12
            sound = container.add_stream("aac", rate=8000, layout="mono") if audio else None
            for number in range(count):
                frame = av.VideoFrame.from_ndarray(numbered_frame(number, *size), format="rgb24")
                frame.pts = number if stamps is None else stamps[number]
                frame.time_base = Fraction(1, 10)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
            if sound is not None:
                samples = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
                samples.sample_rate = 8000
                container.mux(sound.encode(samples))
                container.mux(sound.encode(None))
        return file

    return write
