from types import SimpleNamespace

import pytest
import torch

from vertebra.tasks.detection import retinanet, yolox
from vertebra.tasks.detection.final_l1 import FinalL1


def module(build, **options):
    with torch.device("meta"):
        return SimpleNamespace(network=build("resnet18", 2, **options))


@pytest.mark.parametrize("hook", ["on_train_start", "on_train_epoch_start"])
def test_the_last_epochs_have_the_loss(hook):
    trained = module(yolox)
    seen = []
    for epoch in range(5):
        getattr(FinalL1(2), hook)(SimpleNamespace(current_epoch=epoch, max_epochs=5), trained)
        seen.append(trained.network.l1)
    assert seen == [False, False, False, True, True]


def test_what_has_no_last_epochs_is_refused():
    with pytest.raises(ValueError, match="epochs is 0; expected 1 or more"):
        FinalL1(0)
    with pytest.raises(ValueError, match="FinalL1 is for YOLOX, but the network is a RetinaNet"):
        FinalL1().on_train_start(SimpleNamespace(current_epoch=0, max_epochs=5), module(retinanet))
    with pytest.raises(ValueError, match="max_epochs is -1, so no epoch is among the last 15"):
        FinalL1().on_train_start(SimpleNamespace(current_epoch=0, max_epochs=-1), module(yolox))
