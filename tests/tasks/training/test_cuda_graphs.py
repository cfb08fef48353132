import copy
import warnings

import pytest
import torch

from vertebra.tasks.training.cuda_graphs import MOST_COUNTED, CudaGraphs


class Recorder:
    """Repeats a function on its own inputs and into its own outputs, as a graph does; counts what it recorded."""

    def __init__(self):
        self.shapes = []

    def __call__(self, function, inputs):
        self.shapes.append(inputs[0].shape)
        filled = [x.clone() for x in inputs]
        outputs = function(*filled)

        def replay(*tensors):
            for own, tensor in zip(filled, tensors, strict=True):
                own.copy_(tensor)
            return outputs.copy_(function(*filled))

        return replay


def double(x, y):
    return 2 * x + y


def graphs_on_cpu(**options):
    recorder = Recorder()
    return CudaGraphs(record=recorder, devices=("cpu",), **options), recorder


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.inference_mode():
        yield


def test_a_shape_is_recorded_at_its_third_call_and_replayed_from_then_on():
    graphs, recorder = graphs_on_cpu()
    for number in range(6):
        x = torch.full((2, 3), float(number))
        found = graphs(double, x, x)
        if number < 2:
            assert found is None
        else:
            assert torch.equal(found, 3 * x)
    assert recorder.shapes == [(2, 3)]


def test_shapes_types_memory_formats_and_precisions_have_graphs_of_their_own():
    graphs, recorder = graphs_on_cpu(record_at=1)
    x = torch.ones(2, 4, 3, 3)
    for other in (x, x[:1], x.double(), x.to(memory_format=torch.channels_last), x):
        assert torch.equal(graphs(double, other, other), 3 * other)
    assert len(recorder.shapes) == 4
    with torch.autocast("cpu", dtype=torch.bfloat16):
        graphs(double, x, x)
    assert len(recorder.shapes) == 5


def test_the_graph_that_was_not_used_for_longest_goes():
    graphs, recorder = graphs_on_cpu(record_at=1, most=2)
    for size in (1, 2, 1, 3, 1, 2):
        graphs(double, torch.ones(size), torch.ones(size))
    assert [shape[0] for shape in recorder.shapes] == [1, 2, 3, 2]


def test_the_calls_of_a_limited_number_of_shapes_are_counted():
    graphs, recorder = graphs_on_cpu(record_at=2)
    for size in (*range(1, MOST_COUNTED + 2), 1):
        graphs(double, torch.ones(size), torch.ones(size))
    assert not recorder.shapes  # the first call of size 1 was forgotten
    assert len(graphs._calls) == MOST_COUNTED


def test_a_failed_recording_is_a_warning_once_and_then_nothing_is_recorded():
    calls = []

    def failing(function, inputs):
        calls.append(1)
        raise RuntimeError("operation not permitted when stream is capturing")

    graphs = CudaGraphs(record_at=1, record=failing, devices=("cpu",))
    with pytest.warns(UserWarning, match=r"no CUDA graph could be recorded \(RuntimeError: operation not permitted"):
        assert graphs(double, torch.ones(1), torch.ones(1)) is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert graphs(double, torch.ones(1), torch.ones(1)) is None
    assert calls == [1]


def test_nothing_is_recorded_on_a_cpu_or_with_gradients():
    recorder = Recorder()
    assert CudaGraphs(record_at=1, record=recorder)(double, torch.ones(1), torch.ones(1)) is None
    graphs, other = graphs_on_cpu(record_at=1)
    with torch.inference_mode(False), torch.enable_grad():
        assert graphs(double, torch.ones(1), torch.ones(1)) is None
    assert not recorder.shapes + other.shapes


def test_a_copy_has_recorded_nothing():
    graphs, recorder = graphs_on_cpu(record_at=1)
    graphs(double, torch.ones(1), torch.ones(1))
    copied = copy.deepcopy(graphs)
    assert (copied.record_at, copied.most, copied.devices) == (1, graphs.most, ("cpu",))
    assert not copied._replays
    assert len(recorder.shapes) == 1


@pytest.mark.gpu
@pytest.mark.parametrize("enabled", [False, True])
def test_a_graph_equals_the_function_on_a_gpu(enabled):
    layer = torch.nn.Linear(64, 64, device="cuda")
    graphs = CudaGraphs(record_at=2)
    with torch.autocast("cuda", dtype=torch.bfloat16, enabled=enabled):
        for number in range(5):
            x = torch.randn(8, 64, device="cuda")
            found = graphs(layer, x)
            assert (found is None) == (number < 1)
            if found is not None:
                torch.testing.assert_close(found, layer(x))
