import json
import os

import pytest
import torch
import torchvision

from vertebra.tasks.training.cuda_graphs import CudaGraphs
from vertebra.tools.benchmark import main
from vertebra.tools.benchmarks import gpu, timing
from vertebra.tools.benchmarks.device import Device, captured_lines, count_flop
from vertebra.tools.benchmarks.gpu_cases import CASES, contenders
from vertebra.tools.benchmarks.table import SPEEDUP

SIZES = {
    "detection": (64, 96),
    "classification": (32, 32),
    "segmentation": (64, 64),
    "video": (8, 32, 32),
    "medical": (32, 32, 32),
}
QUICK = ("resnet",)  # the others take longer than a second a step


def small(name):
    case = CASES[name]
    backbone = "resnet18" if case.task in ("detection", "classification") else case.backbone
    return case._replace(batch=2, size=SIZES[case.task], backbone=backbone)


@pytest.fixture(autouse=True)
def no_warm_up(monkeypatch):
    monkeypatch.setattr(timing, "WARM_UP", 0)


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in CASES]
)
def test_each_case_is_measured_with_its_peer_and_its_limit(name):
    case = small(name)
    (table,) = gpu.measure([name], 1, 600, compiled=False, cases={name: case})
    names = [entry.name for entry in contenders(case, compiled=False)]
    assert list(table.rows) == names
    assert names[:2] == [case.peer, "ours"]
    assert len(table.notes) == 1
    flop = float(table.notes[0].split()[1])
    cells = dict(zip(table.columns, table.rows["ours"], strict=True))
    assert flop > 0
    assert cells[f"{case.unit}/s"].median == pytest.approx(2000 / cells["ms"].median)
    assert cells["of the limit, %"] == pytest.approx(100 * cells["limit, ms"].median / cells["ms"].median)


@pytest.mark.slow
def test_a_contender_that_fails_is_a_note_and_the_others_are_measured(monkeypatch):
    case = small("resnet")

    def broken(case, compiled):
        entries = contenders(case, compiled)
        return [entries[0]._replace(build=lambda: 1 / 0), entries[1]]

    monkeypatch.setattr(gpu, "contenders", broken)
    (table,) = gpu.measure(None, 1, 600, compiled=False, cases={"resnet": case})
    assert list(table.rows) == ["ours"]
    assert table.notes[0] == "torchvision failed: ZeroDivisionError: division by zero"


@pytest.mark.slow
def test_a_contender_whose_loss_is_not_finite_is_not_measured(monkeypatch):
    case = small("resnet")

    def diverged(case, compiled):
        entry = contenders(case, compiled)[1]
        work = entry.build()
        return [entry._replace(build=lambda: work._replace(loss=lambda: work.loss() * float("nan")))]

    monkeypatch.setattr(gpu, "contenders", diverged)
    (table,) = gpu.measure(None, 1, 600, compiled=False, cases={"resnet": case})
    assert not table.rows
    assert "the loss is not finite" in table.notes[0]


def test_nothing_is_started_after_the_time_is_over(capsys):
    assert not list(gpu.measure(None, 1, 0, cases={"resnet": small("resnet")}))
    assert "resnet is left out" in capsys.readouterr().out


def test_three_dimensional_networks_are_also_measured_in_the_contiguous_format():
    entries = contenders(CASES["slowfast"])
    assert [entry.name for entry in entries] == [
        "pytorchvideo",
        "ours",
        "pytorchvideo, contiguous",
        "ours, contiguous",
        "ours, compiled",
    ]
    assert [entry.compiled for entry in entries] == [False] * 4 + [True]
    assert [entry.build.args[1:] for entry in entries] == [
        (False, True),
        (True, True),
        (False, False),
        (True, False),
        (True, True),
    ]


@pytest.mark.slow
def test_inference_is_also_measured_with_cuda_graphs_of_the_folded_network():
    entries = contenders(small("faster_rcnn_eight"))
    assert [entry.name for entry in entries] == ["torchvision", "ours", "ours, CUDA graphs"]
    assert [entry.folded for entry in entries] == [False, True, True]
    plain, graphed = (entry.build() for entry in entries[1:])
    assert not isinstance(plain.network.graphs, CudaGraphs)
    assert isinstance(graphed.network.graphs, CudaGraphs)
    with torch.inference_mode():
        assert len(graphed.infer(graphed.network.eval())) == 2  # all images of the batch


def test_only_the_convolutions_of_a_finetuned_detector_that_train_have_gradients():
    case = small("faster_rcnn_finetuned")
    counts = [
        sum(x.numel() for x in entry.build().network.parameters() if x.requires_grad)
        for entry in contenders(case, compiled=False)
    ]
    assert counts[0] == counts[1]


def test_both_finetuned_detectors_have_the_same_regression_of_anchors():
    torch.manual_seed(0)
    networks = [entry.build().network.eval() for entry in contenders(small("faster_rcnn_finetuned"), compiled=False)]
    images = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        theirs = networks[0].backbone(images)
        ours = networks[1].neck(networks[1].backbone(images))
    for one, other in zip(theirs.values(), ours.values(), strict=True):
        torch.testing.assert_close(other, one, rtol=1e-3, atol=1e-4)


def test_a_product_counts_two_operations_for_each_multiplication():
    a = torch.ones(3, 4, requires_grad=True)
    assert count_flop(lambda: (a @ torch.ones(4, 5)).sum().backward()) == 2 * 2 * 3 * 4 * 5


def test_a_cpu_has_no_waits_and_no_memory_of_its_own():
    device, ran = Device(), []
    if not device.is_gpu:
        assert device.waits(lambda: ran.append(1)) == device.peak(lambda: ran.append(1)) == device.allocated() == 0
        assert ran == [1, 1]
        assert device.product_rate(64) > 0


def test_lines_with_a_text_are_captured_that_do_not_come_from_python(capfd):
    with captured_lines("synchronizing") as lines:
        os.write(2, b"[W1127 CUDAFunctions.cpp:162] Warning: called a synchronizing CUDA operation\nanother\n")
    os.write(2, b"after\n")
    assert [line.split()[-1] for line in lines] == ["operation"]
    assert capfd.readouterr().err == "another\nafter\n"


def test_other_lines_are_written_also_after_an_error(capfd):
    def fail():
        with captured_lines("synchronizing"):
            os.write(2, b"before\n")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "before\nafter\n"


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_without_a_gpu_its_sizes_are_refused(capsys):
    assert main(["gpu"]) == 1
    assert "there is no CUDA device" in capsys.readouterr().err


def test_an_unknown_case_is_a_user_error(capsys):
    assert main(["gpu", "--only", "resnet", "resnet5"]) == 1
    assert "resnet5 is not a case of this benchmark; choose from faster_rcnn" in capsys.readouterr().err


def test_results_are_written_after_every_table(monkeypatch, tmp_path):
    measure = gpu.measure

    def interrupted(*arguments, **options):
        yield from measure(None, 1, 600, compiled=False, cases={"resnet": small("resnet")})
        raise KeyboardInterrupt

    monkeypatch.setattr(gpu, "measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        main(["--output", str(tmp_path), "gpu"])
    (table,) = json.loads((tmp_path / "results.json").read_text())
    assert [row["name"] for row in table["rows"]] == ["torchvision", "ours"]
    assert table["rows"][0][SPEEDUP]["median"] == 1


@pytest.mark.gpu
def test_a_gpu_counts_memory_and_waits():
    device, kept = Device(), []
    assert device.peak(lambda: kept.append(torch.zeros(2**20, device="cuda"))) >= 4
    assert device.waits(lambda: kept[0].sum().item()) == 1
    assert device.waits(lambda: kept[0].sum()) == 0


@pytest.mark.gpu
def test_waits_of_operators_in_cpp_are_counted(capfd):
    boxes = torch.tensor([[0.0, 0.0, 9.0, 9.0], [1.0, 1.0, 9.0, 9.0]], device="cuda")
    assert Device().waits(lambda: torchvision.ops.nms(boxes, torch.ones(2, device="cuda"), 0.5)) >= 1
    assert "synchronizing" not in capfd.readouterr().err
