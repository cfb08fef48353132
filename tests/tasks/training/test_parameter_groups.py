from torch import nn

from vertebra.tasks.training.parameter_groups import parameter_groups


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.bn = nn.BatchNorm2d(4)
        self.gn = nn.GroupNorm(2, 4)
        self.frozen = nn.Linear(4, 4)
        self.frozen.requires_grad_(False)
        self.head = nn.Linear(4, 4)
        self.shared = nn.Linear(4, 4)
        self.shared.weight = self.head.weight
        self.ln = nn.LayerNorm(4)


def names_of(network, group):
    wanted = {id(parameter) for parameter in group["params"]}
    return {name for name, parameter in network.named_parameters() if id(parameter) in wanted}


def test_norms_and_biases_do_not_decay():
    network = Network()
    decayed, kept = parameter_groups(network)
    assert names_of(network, decayed) == {"conv.weight", "head.weight"}
    norms = {f"{norm}.{part}" for norm in ("bn", "gn", "ln") for part in ("weight", "bias")}
    assert names_of(network, kept) == {"conv.bias", "head.bias", "shared.bias"} | norms
    assert kept["weight_decay"] == 0
    assert "weight_decay" not in decayed  # the optimizer's own


def test_shared_parameters_appear_once_and_frozen_ones_never():
    network = Network()
    parameters = [parameter for group in parameter_groups(network) for parameter in group["params"]]
    assert len({id(parameter) for parameter in parameters}) == len(parameters)
    assert all(parameter.requires_grad for parameter in parameters)
    network.requires_grad_(False)
    assert parameter_groups(network) == []
    network.conv.bias.requires_grad_(True)
    assert [len(group["params"]) for group in parameter_groups(network)] == [1]  # no empty group
