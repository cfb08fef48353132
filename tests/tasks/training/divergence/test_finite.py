import pytest
import torch
from torch.nn.utils import get_total_norm

from vertebra.tasks.training.divergence.finite import max_abs


@pytest.mark.parametrize("value", [2.5, -7.0, float("inf"), -float("inf"), float("nan"), 3e38])
def test_the_maximum_is_the_norm_of_all_tensors_on_any_device(value):
    tensors = [torch.ones(2, 3), torch.zeros(()), torch.full((4,), 2.0, dtype=torch.bfloat16), torch.ones(2) * 0.5]
    tensors[3][1] = value
    expected = get_total_norm([x.float() for x in tensors], float("inf"))
    mixed = [*tensors, torch.zeros(0), torch.tensor([9])]  # empty ones and integers do not count
    torch.testing.assert_close(max_abs(mixed).float(), expected, rtol=0, atol=0, equal_nan=True)


def test_parameters_and_no_tensors():
    assert max_abs([torch.nn.Parameter(-torch.ones(3))]) == 1
    assert max_abs([]) == 0
