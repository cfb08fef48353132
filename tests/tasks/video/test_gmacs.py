import pytest
import torch
from pytorchvideo.models import hub
from torch.utils.flop_counter import FlopCounterMode

from vertebra.tasks.video import video_classifier

# GMACs of pytorchvideo's model zoo, and the clip that they are for.
ZOO = {
    "slow_r50": (54.52, (8, 256, 256)),
    "slowfast_r50": (65.71, (32, 256, 256)),
    "slowfast_r101": (127.20, (32, 256, 256)),
    "c2d_r50": (25.89, (8, 256, 256)),
    "i3d_r50": (37.53, (8, 256, 256)),
    "r2plus1d_r50": (76.45, (16, 256, 256)),
    "csn_r101": (75.62, (32, 256, 256)),
    "x3d_s": (2.96, (13, 182, 182)),
    "x3d_m": (6.72, (16, 256, 256)),
}
# The zoo's numbers for these are those of the products alone; in all others a norm counts, five for each pixel.
WITHOUT_NORMS = {"slow_r50", "slowfast_r50"}
PER_PIXEL = 5


def gmacs(network, clips, norms):
    """Billions of multiply-adds of the products, and with `norms` what the zoo counts for batch norms besides."""
    pixels = []
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.register_forward_hook(lambda module, inputs, output: pixels.append(output.numel()))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(clips)
    return (counter.get_total_flops() / 2 + norms * PER_PIXEL * sum(pixels)) / 1e9


# others have their blocks, in another number
OF_OTHERS = ("slowfast_r101", "csn_r101", "x3d_s")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in OF_OTHERS else name for name in ZOO]
)
def test_gmacs_equal_reference_implementations_and_papers(name, capsys):
    published, size = ZOO[name]
    norms = name not in WITHOUT_NORMS
    with torch.device("meta"):
        clips = torch.zeros(1, 3, *size)
        classifier = video_classifier(name, 400).eval()
        peer = getattr(hub, name)(pretrained=False).eval()
        peer.blocks[-1] = torch.nn.Identity()
        theirs = gmacs(peer, [clips[:, :, ::4], clips] if name.startswith("slowfast") else clips, norms)
        assert gmacs(classifier.backbone, clips, norms) == pytest.approx(theirs, rel=1e-9)
        ours = gmacs(video_classifier(name, 400).eval(), clips, norms)
    with capsys.disabled():
        print(f"\n{name}: ours {ours:.2f}, published {published} GMACs", end=" ")
    assert ours == pytest.approx(published, rel=0.01)
