import torch

from vertebra.tasks.training.step_seed import seed_step

CPU = torch.device("cpu")


def test_step_seed_depends_on_the_position_only():
    drawn = set()
    for place in [(0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)]:
        seed_step(CPU, *place)
        first = torch.rand(4)
        torch.rand(100)
        seed_step(CPU, *place)
        assert torch.equal(first, torch.rand(4))
        drawn.add(tuple(first.tolist()))
    assert len(drawn) == 5
