"""Latency of candidates: relative to a reference, recorded, and within its limit."""

import random

import pytest

from vertebra.backbones.resnet_spelled import ResNetDesign
from vertebra.tools.searching import latency
from vertebra.tools.searching.candidate import Candidate, Limits
from vertebra.tools.searching.latency import LatencyMeter, read_latency
from vertebra.tools.searching.space import Space, widest
from vertebra.tools.searching.trials import Trials

NARROW, WIDE = (Candidate(ResNetDesign("small", "basic", (1,), (w,)).name, 16, 1, 1) for w in (4, 256))


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(latency, "_ROUNDS", 3)
    monkeypatch.setattr(latency, "_SHORTEST", 0.002)
    monkeypatch.setattr(latency, "_REFERENCE_CALLS", 20)


def test_a_wide_network_takes_longer_than_a_narrow_one(tmp_path, quick):
    meter = LatencyMeter(Trials(tmp_path / "t", {}))
    assert 0 < meter(NARROW) < meter(WIDE)


def test_load_of_the_machine_leaves_the_ratio(tmp_path, monkeypatch):
    class Repeated:
        calls = 1

        def __init__(self, name, size):
            self.seconds = 0.010 if name == latency.REFERENCE else 0.005

        def repeat(self):
            return self.seconds

        once = repeat

    load = iter([3, 1, 4, 2, 8, 4])  # of a round

    def rounds(runs, number):
        factors = [next(load) for _ in range(3)]
        return [[factor * run() for factor in factors] for run in runs]

    monkeypatch.setattr(latency, "_Inference", Repeated)
    monkeypatch.setattr(latency, "time_interleaved", rounds)
    meter = LatencyMeter(Trials(tmp_path / "t", {}))
    assert (meter.reference_seconds, meter.load) == (0.010, 3)
    assert str(meter).endswith("takes 10.00 ms at best, but 3.0 times as long in the median: the machine was busy")
    assert meter(NARROW) == pytest.approx(0.005)  # and not 0.020, the median of its own times


def test_a_search_that_continues_has_the_same_latencies(tmp_path, quick, monkeypatch):
    meter = LatencyMeter(Trials(tmp_path / "t", {}))
    first = meter(NARROW)
    monkeypatch.setattr(latency, "time_interleaved", None)
    again = LatencyMeter(Trials(tmp_path / "t", {}))
    assert again(NARROW) == first
    assert again.reference_seconds == meter.reference_seconds


def noisy(candidate):
    """A latency that grows with the width, but for a twentieth of noise that follows from the name."""
    width = max(ResNetDesign.parse(candidate.name.removeprefix("resnet:")).widths)
    return (1 + width / 8) * random.Random(candidate.name).uniform(0.975, 1.025) / 1000


@pytest.mark.parametrize("budget", [None, 400_000])
def test_the_limit_is_never_exceeded(budget, quick_count):
    limits = Limits(budget, 0.005, noisy)
    space, rng = Space(8, limits), random.Random(0)
    for _ in range(30):
        drawn = space.draw(rng)
        for candidate in (drawn, space.child([drawn], rng)):
            assert candidate.latency == noisy(candidate) <= 0.005
            assert budget is None or candidate.macs <= budget
            assert limits.share(candidate) >= 0.25
    assert 0.0042 < Space(8, Limits(None, 0.005, noisy)).handmade().latency <= 0.005


def test_too_small_a_latency_is_refused_by_its_flag(quick_count):
    limits = Limits(None, 1e-3, noisy)
    assert widest(lambda base: ResNetDesign("small", "basic", (1,), (base,)), 8, limits, 1, 4) is None
    with pytest.raises(ValueError, match=r"the latency of 1 ms is too small for 8 x 8 pixels; give a larger --latency"):
        Space(8, limits).handmade()
    with pytest.raises(
        ValueError, match=r"budget of 1 multiply-accumulates and the latency of 1 ms .* --budget or --l"
    ):
        Space(8, Limits(1, 1e-3, noisy)).handmade()


@pytest.mark.parametrize(("text", "seconds"), [("5ms", 0.005), ("2.5 MS", 0.0025), ("800us", 0.0008), ("1s", 1)])
def test_latencies_are_read(text, seconds):
    assert read_latency(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "0ms", "-1ms", "fast", "5 min"])
def test_other_latencies_are_refused(text):
    with pytest.raises(ValueError, match="expected the time of one image, such as 5ms"):
        read_latency(text)
