import pytest
import torch
from pytorchvideo.models import hub
from torch.utils.flop_counter import FlopCounterMode

from tasks.video import video_classifier

# GMACs of pytorchvideo's model zoo, and the clip that they are for. Its X3D numbers count more than convolutions do;
# the paper's (2.7 and 6.2 for the same clips) do not.
ZOO = {
    "slow_r50": (54.52, (8, 256, 256)),
    "slowfast_r50": (65.71, (32, 256, 256)),
    "slowfast_r101": (127.20, (32, 256, 256)),
    "c2d_r50": (25.89, (8, 256, 256)),
    "i3d_r50": (37.53, (8, 256, 256)),
    "r2plus1d_r50": (76.45, (16, 256, 256)),
    "csn_r101": (75.62, (32, 256, 256)),
    "x3d_s": (2.7, (13, 182, 182)),
    "x3d_m": (6.2, (16, 256, 256)),
}
WITHIN_ONE_PERCENT = {"slow_r50", "slowfast_r50"}


def gmacs(network, clips):
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(clips)
    return counter.get_total_flops() / 2e9


@pytest.mark.parametrize("name", ZOO)
def test_gmacs_are_the_peers_and_near_the_published_ones(name, capsys):
    published, size = ZOO[name]
    with torch.device("meta"):
        clips = torch.zeros(1, 3, *size)
        classifier = video_classifier(name, 400).eval()
        peer = getattr(hub, name)(pretrained=False).eval()
        peer.blocks[-1] = torch.nn.Identity()
        theirs = gmacs(peer, [clips[:, :, ::4], clips] if name.startswith("slowfast") else clips)
        assert gmacs(classifier.backbone, clips) == pytest.approx(theirs, rel=1e-9)
        ours = gmacs(classifier, clips)
    with capsys.disabled():
        print(f"\n{name}: ours {ours:.2f}, published {published} GMACs", end=" ")
    if name.startswith("x3d"):
        assert ours == pytest.approx(published, abs=0.05)  # it is published with one decimal
    else:
        assert (abs(ours / published - 1) < 0.01) == (name in WITHIN_ONE_PERCENT)
