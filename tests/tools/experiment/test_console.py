import logging
import warnings
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import nn

from vertebra.backbones import create_backbone
from vertebra.tasks.classification import ClassificationModule, image_classifier
from vertebra.tools.experiment.console import RunHeader, silence_chatter

CHATTER = [
    "💡 Tip: For seamless cloud logging and experiment tracking, try installing litlogger",
    "TPU available: False, using: 0 TPU cores",
    "GPU available: True (cuda), used: True",
    "`Trainer.fit` stopped: `max_epochs=2` reached.",
    "Restoring states from the checkpoint path at runs/x/checkpoints/best.ckpt",
]


@pytest.fixture
def printed(caplog, monkeypatch):
    """Messages that are left of those given."""
    logger = logging.getLogger("lightning.pytorch")
    # Lightning lets messages pass on to the root logger, whose handler is the same, if that has one at its import
    monkeypatch.setattr(logger, "propagate", False)
    filters = {name: list(logging.getLogger(name).filters) for name in logging.root.manager.loggerDict}
    logger.addHandler(caplog.handler)
    silence_chatter()

    def left(messages):
        caplog.clear()
        for message in messages:
            rank_zero_info(message)
        return [record.getMessage() for record in caplog.records]

    yield left
    logger.removeHandler(caplog.handler)
    for name, before in filters.items():
        logging.getLogger(name).filters = before


def test_tips_are_left_out_and_what_concerns_the_run_is_not(printed):
    assert printed([*CHATTER, "AP 0.5\nreport: runs/x/report.html"]) == ["AP 0.5\nreport: runs/x/report.html"]


def test_warnings_without_consequence_are_left_out(printed):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        silence_chatter()
        warnings.warn("The number of training batches (3) is smaller than the logging interval", stacklevel=1)
        warnings.warn("photos/1.jpg: clipped 1 x box outside of the image", stacklevel=1)
    assert [str(one.message)[:12] for one in seen] == ["photos/1.jpg"]


def test_the_header_names_network_and_hardware(capsys):
    module = ClassificationModule(image_classifier(create_backbone("resnet20"), 3), ["a", "b", "c"])
    trainer = SimpleNamespace(is_global_zero=True, world_size=2, precision="32-true")
    trainer.strategy = SimpleNamespace(root_device=torch.device("cpu"))
    RunHeader().on_fit_start(trainer, module)
    network, device = capsys.readouterr().out.splitlines()
    assert network == "network ImageClassifier, resnet20, 269 k parameters"
    assert device.startswith("device  2 x cpu, ")
    assert device.endswith(", 32-true")
    RunHeader().on_fit_start(SimpleNamespace(is_global_zero=False), nn.Identity())
    assert capsys.readouterr().out == ""
