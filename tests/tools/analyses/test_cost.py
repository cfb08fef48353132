"""Costs of parts, against counts by hand and the table of backbones."""

import csv

import numpy as np
import pytest
import torch
from torch import nn

from vertebra.backbones import create_backbone
from vertebra.tools.analyses.cost import Roof, total
from vertebra.tools.analyses.measures.counting import REST, STEM, Cost, count_costs, measure_times
from vertebra.tools.analyses.networks.blocks import Block, blocks_of
from vertebra.tools.backbones import describe
from vertebra.tools.main import main


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 1, bias=False)
        self.block = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1, bias=False), nn.ReLU())
        self.last = nn.Linear(8, 5)

    def forward(self, x):
        return self.last(self.block(self.first(x)).mean(dim=(2, 3)))


def test_costs_of_a_small_net_are_those_by_hand():
    with torch.device("meta"):
        net = Net()
    costs = count_costs(net, [Block("block", "", net.block, None)], (2, 3, 6, 6))
    assert [cost.parameters for cost in costs.values()] == [12, 288, 45]
    assert costs[STEM].flops == 2 * 2 * 36 * 3 * 4
    assert costs["block"].flops == 2 * 2 * 36 * 9 * 4 * 8
    assert costs[REST].flops == 2 * 2 * 8 * 5
    # float32: input, kernel and output of the convolution; input and output of the ReLU
    before, after = 2 * 4 * 36, 2 * 8 * 36
    assert costs[STEM].traffic == 4 * (2 * 3 * 36 + 12 + before)
    assert costs["block"].traffic == 4 * (before + 288 + after + 2 * after)
    # a convolution keeps its input, the ReLU its output, and the linear layer its input
    assert costs[STEM].activations == 4 * 2 * 3 * 36
    assert costs["block"].activations == 4 * (before + after)
    assert costs[REST].activations == 4 * 2 * 8
    assert costs["block"].intensity == pytest.approx(costs["block"].flops / costs["block"].traffic)


NAMES = ("resnet20", "resnet50", "seresnet18", "resnetv2_50", "x3d_s", "timm:convnext_atto", "momentum_resnet20")


@pytest.mark.parametrize("name", NAMES)
def test_totals_equal_the_table_of_backbones(name):
    info = describe(name)
    with torch.device("meta"):
        network = create_backbone(name)
    costs = count_costs(network, blocks_of(network), (1, 3, *info.size))
    whole = total(costs)
    assert whole.parameters == info.parameters
    assert whole.flops / 2e9 == pytest.approx(info.gmacs, rel=1e-12)
    assert all(cost.flops > 0 for name, cost in costs.items() if name != REST)


def test_activations_are_proportional_to_the_batch():
    with torch.device("meta"):
        network = create_backbone("resnet20")
    one, four = (total(count_costs(network, blocks_of(network), (n, 3, 32, 32))).activations for n in (1, 4))
    # but for the statistics of the batch norms, which do not grow
    assert four == pytest.approx(4 * one, rel=0.01)


def test_times_are_those_of_the_parts():
    net = Net().eval()
    slow = []
    net.block.register_forward_hook(lambda *_: slow.append(sum(range(200_000))))
    times = measure_times(net, [Block("block", "", net.block, None)], torch.zeros(1, 3, 6, 6), 3, lambda: None)
    assert list(times) == [STEM, "block", REST]
    assert len(slow) == 5
    assert times["block"] > times[STEM] + times[REST] > 0


def test_the_roof_is_the_lower_of_both_limits():
    roof = Roof(flops=100.0, bandwidth=10.0)
    assert roof.attainable(np.array([1.0, 5.0, 10.0, 50.0])).tolist() == [10, 50, 100, 100]
    assert Cost().intensity == 0


def test_the_command_writes_a_row_for_each_part_and_the_total(tmp_path, capsys):
    words = ["--rounds", "1", "--output", str(tmp_path)]
    assert main(["analyze", "cost", "resnet20", *words]) == 0
    with (tmp_path / "cost.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["part"] for row in rows][:3] == [STEM, "layer1.0", "layer1.1"]
    assert [row["part"] for row in rows][-2:] == [REST, "total"]
    assert f"{int(rows[-1]['parameters']):,} parameters" in capsys.readouterr().out
    assert float(rows[-1]["MMACs a sample"]) == pytest.approx(1e3 * describe("resnet20").gmacs)
    assert (tmp_path / "cost_roofline.svg").exists()


def test_a_run_has_the_cost_of_its_input_size(trained, tmp_path):
    folder, _ = trained("classification")
    assert main(["analyze", "cost", str(folder), "--rounds", "1", "--output", str(tmp_path)]) == 0
    assert "1 x 3 x 24 x 24" in (tmp_path / "cost.html").read_text()


class Turned(nn.Module):
    def forward(self, x):
        return x.transpose(1, 2).reshape(x.shape[0], -1)[:, :5]


def test_views_move_no_bytes():
    turned = Turned()
    net = nn.Sequential(nn.Sequential(turned))
    net[0].register_parameter("weight", nn.Parameter(torch.zeros(2, 2, device="meta")))
    costs = count_costs(net, [Block("0", "", net[0], None)], (2, 3, 4))
    # only the reshape copies: it reads and writes 24 values
    assert costs["0"].traffic == 4 * 2 * 24
