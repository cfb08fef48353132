from functools import partial

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch import nn

from vertebra.backbones import Backbone, BackboneOptions, create_backbone
from vertebra.backbones.backbone import Level
from vertebra.backbones.vit import ViT
from vertebra.tasks.classification import image_classifier
from vertebra.tasks.training.frozen_layers import FrozenLayers
from vertebra.tasks.training.layers import layer_groups
from vertebra.tasks.training.module import TaskModule
from vertebra.tasks.training.parameter_groups import parameter_groups
from vertebra.tasks.training.schedules import MultiStep
from vertebra.tasks.training.unfreezing import GradualUnfreezing


class Tiny(Backbone):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.relu = nn.ReLU()
        self.stage = nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4))
        self.closing = nn.Sequential(nn.BatchNorm2d(4), nn.ReLU())
        self.levels = (Level("C2", 4, 1),)

    def forward(self, images):
        return self.closing(self.stage(self.relu(self.norm(self.conv(images)))))


class Network(nn.Module):
    def __init__(self, backbone=None):
        super().__init__()
        self.backbone = backbone or Tiny()
        self.neck = nn.Conv2d(4, 4, 1)
        self.head = nn.Linear(4, 2)

    def forward(self, images):
        return self.head(self.neck(self.backbone(images)).mean(dim=(2, 3)))


class Module(TaskModule):
    prediction_writer = sample_outputs = None

    def report_sections(self):
        return []

    def training_step(self, batch, batch_idx):
        return self.network(batch[0]).square().mean()


def names_of(network):
    name_of = {id(module): name for name, module in network.named_modules()}
    return [[name_of[id(module)] for module in layer] for layer in layer_groups(network)]


def test_a_norm_joins_the_group_before_it_and_everything_after_the_backbone_is_one():
    assert names_of(Network()) == [
        ["backbone.conv", "backbone.norm"],
        ["backbone.stage", "backbone.closing"],
        ["neck", "head"],
    ]


def test_wrappers_are_unwrapped():
    class Wrapper(Backbone):
        def __init__(self):
            super().__init__()
            self.body = Tiny()

    assert names_of(Network(Wrapper()))[0] == ["backbone.body.conv", "backbone.body.norm"]


@pytest.mark.parametrize("name", ["resnet18", "resnet50d", "resnetv2_50", "seresnet18"])
def test_a_residual_network_has_a_stem_and_stages(name):
    network = Network(create_backbone(name))
    layers = names_of(network)
    assert len(layers) == 6
    assert [layer[0] for layer in layers[1:5]] == [f"backbone.layer{i}" for i in (1, 2, 3, 4)]
    covered = {id(weight) for layer in layer_groups(network) for part in layer for weight in part.parameters()}
    assert covered == {id(weight) for weight in network.parameters()}


def tiny_vit():
    return ViT(BackboneOptions(), width=8, depth=3, num_heads=1, patch=8, size=16)


def test_each_block_of_a_transformer_is_a_layer():
    assert names_of(Network(tiny_vit())) == [
        ["backbone.patch_embed"],
        *([f"backbone.blocks.{i}"] for i in range(3)),
        ["backbone.norm", "backbone.pyramid", "neck", "head"],
    ]


def test_learning_rates_of_a_transformer_are_those_of_beit():
    network = image_classifier("vit_tiny_patch16_224", 2)
    groups = parameter_groups(network, (0.5, 1.0))
    factors = {id(weight): group["lr_factor"] for group in groups for weight in group["params"]}
    by_name = {name.removeprefix("backbone."): factors[id(weight)] for name, weight in network.named_parameters()}
    assert len(factors) == len(by_name) == len(list(network.parameters()))
    for name, factor in by_name.items():
        # 14 layers: the embedding has 0.5 ** 13, block i 0.5 ** (12 - i), and what follows 1
        exponent = 13 if name.startswith("patch_embed.") else 12 - int(name.split(".")[1]) if "blocks." in name else 0
        assert factor == 0.5**exponent, name
    assert {"patch_embed.cls_token", "patch_embed.pos_embed", "blocks.11.mlp.fc2.bias", "norm.weight"} <= set(by_name)


def test_a_frozen_stem_of_a_transformer_is_its_patch_embedding(tmp_path):
    module = Module(Network(tiny_vit()), ["a"])
    FrozenLayers().setup(Trainer(logger=False, default_root_dir=tmp_path), module, "fit")
    frozen = [name for name, weight in module.network.named_parameters() if not weight.requires_grad]
    assert frozen == [name for name, _ in module.network.named_parameters() if ".patch_embed." in name]


@pytest.mark.parametrize("name", ["momentum_resnet20", "odenet20"])
def test_stages_of_continuous_depth_are_layers(name):
    network = Network(create_backbone(name))
    layers = names_of(network)
    assert [layer[0] for layer in layers[1:4]] == [f"backbone.layer{i}" for i in (1, 2, 3)]
    assert len(layers) == 5
    covered = [id(weight) for layer in layer_groups(network) for part in layer for weight in part.parameters()]
    assert sorted(covered) == sorted(map(id, network.parameters()))


def test_a_network_without_a_backbone_is_refused():
    with pytest.raises(ValueError, match="Sequential has 0 backbones among its children"):
        layer_groups(nn.Sequential(nn.Linear(2, 2)))


def test_learning_rates_decay_towards_the_input():
    network = Network()
    groups = parameter_groups(network, (0.5, 1.0))
    factors = {id(weight): group["lr_factor"] for group in groups for weight in group["params"]}
    assert len(factors) == len(list(network.parameters()))
    by_name = {name: factors[id(weight)] for name, weight in network.named_parameters()}
    assert by_name["backbone.conv.weight"] == by_name["backbone.norm.bias"] == 0.25
    assert by_name["backbone.stage.0.weight"] == by_name["backbone.closing.0.weight"] == 0.5
    assert by_name["neck.weight"] == by_name["head.bias"] == 1
    kept = {id(weight) for group in groups if group.get("weight_decay") == 0 for weight in group["params"]}
    assert {name for name, weight in network.named_parameters() if id(weight) in kept} == {
        name for name in by_name if name.endswith("bias") or "norm" in name or "closing" in name or "stage.1" in name
    }


class Watch(Callback):
    def __init__(self):
        self.rates, self.learning, self.training = [], [], []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        network = pl_module.network
        self.rates.append(sorted({group["lr"] for group in trainer.optimizers[0].param_groups}))
        self.learning.append([name for name in ("backbone.conv", "backbone.stage.0", "head") if moved(network, name)])
        self.training.append([network.backbone.norm.training, network.backbone.stage[1].training])


def moved(network, name):
    return network.get_submodule(name).weight.requires_grad


def fit(module, folder, *callbacks, epochs=4, ckpt_path=None):
    images = torch.randn(4, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(images), batch_size=2)
    trainer = Trainer(
        accelerator="cpu",
        enable_model_summary=False,
        max_epochs=epochs,
        default_root_dir=folder,
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    trainer.fit(module, loader, ckpt_path=ckpt_path, weights_only=True if ckpt_path else None)


@pytest.mark.filterwarnings("ignore")
def test_the_schedule_keeps_the_ratios_of_layers(tmp_path):
    watch = Watch()
    module = Module(
        Network(),
        ["a"],
        optimizer=lambda groups: torch.optim.SGD(groups, lr=0.8),
        schedule=MultiStep(0.0, (0.6,), 0.5),
        layer_decay=0.5,
    )
    fit(module, tmp_path, watch, epochs=2)
    assert [[round(rate, 6) for rate in rates] for rates in watch.rates] == [
        [0.2, 0.4, 0.8],
        [0.1, 0.2, 0.4],
        [0.1, 0.2, 0.4],
        [0.1, 0.2, 0.4],
    ]
    with pytest.raises(ValueError, match="layer_decay is 0"):
        Module(Network(), ["a"], layer_decay=0)


@pytest.mark.filterwarnings("ignore")
def test_the_head_has_its_own_learning_rate(tmp_path):
    watch = Watch()
    sgd = partial(torch.optim.SGD, lr=0.1)
    module = Module(Network(), ["a"], optimizer=sgd, schedule=MultiStep(0.0, ()), head_lr_mult=10.0)
    fit(module, tmp_path, watch, epochs=1)
    assert [[round(rate, 6) for rate in rates] for rates in watch.rates] == [[0.1, 1.0]] * 2
    factors = [group["lr_factor"] for group in parameter_groups(Network(), (0.5, 10.0))]
    assert sorted(set(factors)) == [0.25, 0.5, 10.0]
    with pytest.raises(ValueError, match="head_lr_mult is 0"):
        Module(Network(), ["a"], head_lr_mult=0)


@pytest.mark.filterwarnings("ignore")
def test_layers_are_unfrozen_from_the_output(tmp_path):
    watch = Watch()
    network = Network()
    start = network.backbone.conv.weight.clone()
    statistics = network.backbone.norm.running_mean.clone()
    fit(Module(network, ["a"]), tmp_path, GradualUnfreezing(epochs=1), watch, epochs=2)
    assert watch.learning == [["head"]] * 2 + [["backbone.stage.0", "head"]] * 2
    assert watch.training == [[False, False]] * 2 + [[False, True]] * 2
    assert torch.equal(network.backbone.conv.weight, start)
    assert torch.equal(network.backbone.norm.running_mean, statistics)
    watch = Watch()
    fit(Module(network, ["a"]), tmp_path, GradualUnfreezing(epochs=1), watch, epochs=3)
    assert watch.learning[-1] == ["backbone.conv", "backbone.stage.0", "head"]
    assert not torch.equal(network.backbone.conv.weight, start)


@pytest.mark.filterwarnings("ignore")
def test_permanently_frozen_layers_stay_frozen(tmp_path):
    network = Network()
    network.backbone.freeze("conv", "norm")
    fit(Module(network, ["a"]), tmp_path, GradualUnfreezing(), watch := Watch(), epochs=4)
    assert watch.learning[-1] == ["backbone.stage.0", "head"]
    assert watch.training[-1] == [False, True]


@pytest.mark.filterwarnings("ignore")
def test_first_layers_are_frozen_for_a_run(tmp_path):
    network, watch = Network(), Watch()
    start = {name: value.clone() for name, value in network.state_dict().items()}
    module = Module(network, ["a"])
    fit(module, tmp_path, FrozenLayers(), watch, epochs=2)
    assert watch.learning == [["backbone.stage.0", "head"]] * 4
    assert watch.training == [[False, True]] * 4
    changed = {name.rpartition(".")[0] for name, value in network.state_dict().items() if not value.equal(start[name])}
    assert changed.isdisjoint({"backbone.conv", "backbone.norm"})
    assert {"backbone.stage.0", "backbone.stage.1", "head"} <= changed
    assert all(weight.requires_grad for weight in network.parameters())  # a notebook may train it again


@pytest.mark.filterwarnings("ignore")
def test_a_head_is_never_frozen(tmp_path):
    with pytest.raises(ValueError, match="groups is 2; this network has 2 before its head"):
        fit(Module(Network(), ["a"]), tmp_path, FrozenLayers(groups=2), epochs=1)
    with pytest.raises(ValueError, match="groups is 0"):
        FrozenLayers(groups=0)


class Save(Callback):
    def __init__(self, folder, step):
        self.file, self.step = folder / "cut.ckpt", step

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.file)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("step", [3, 4])  # in the middle of the second epoch, and at its end
def test_unfreezing_resumes_where_it_was(step, tmp_path):
    fit(Module(Network(), ["a"]), tmp_path, GradualUnfreezing(), save := Save(tmp_path, step), epochs=2)
    watch = Watch()
    fit(Module(Network(), ["a"]), tmp_path, GradualUnfreezing(), watch, epochs=3, ckpt_path=save.file)
    assert watch.learning[-2:] == [["backbone.conv", "backbone.stage.0", "head"]] * 2
    assert watch.learning[:-2] == [["backbone.stage.0", "head"]] * (4 - step)


def test_ddp_must_find_unused_parameters(tmp_path):
    trainer = Trainer(accelerator="cpu", devices=2, strategy="ddp", logger=False, default_root_dir=tmp_path)
    with pytest.raises(ValueError, match="ddp_find_unused_parameters_true"):
        GradualUnfreezing().setup(trainer, Module(Network(), ["a"]), "fit")
    with pytest.raises(ValueError, match="epochs is 0"):
        GradualUnfreezing(0)
