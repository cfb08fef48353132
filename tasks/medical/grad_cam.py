"""Where in an image, a volume or a study a classifier sees what it says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vertebra.tasks.medical.image_network import MedicalClassifier
from vertebra.tasks.medical.study_network import StudyClassifier

LEAST_CELLS = 7  # along a side, in the geometric mean: what 224 pixels are at reduction 32
_LINEAR = {2: "bilinear", 3: "trilinear"}


def grad_cam(
    network: MedicalClassifier | StudyClassifier,
    images: Tensor,
    label: int | Tensor,
    level: str | None = None,
    counts: Sequence[int] | None = None,
) -> Tensor:
    """Return how much each pixel or voxel speaks for a class.

    Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization, Selvaraju et al. 2016,
    https://arxiv.org/abs/1610.02391: the channels of a feature map, weighted by the mean gradient of the class's logit
    on each of them; what speaks against the class is cut off. Of slices and of the images of a study each has weights
    of its own. The network is asked as it is used, without dropout and with fixed statistics, and nothing about it is
    changed: neither its mode nor gradients that its parameters have.

    Args:
        network: the classifier.
        images: what it takes, on its device.
        label: the class, 0..K-1; or one for each study, (N,) int64.
        level: name of the map; None takes the coarsest that has, along a side and in the geometric mean, seven cells or
            more, as the last one has of photographs: of small volumes that one is a single cell, which is everywhere
            and nowhere.
        counts: images of each study, as the network takes them.

    Returns:
        Float32 in the size of the images without their channels: (N, H, W), (N, D, H, W), and with several images to a
        study (N, I, ...), 0 for padding. In 0..1, where 1 is the largest value of a study; all 0 where nothing speaks
        for the class.

    Raises:
        ValueError: the backbone has no such level, or what is said does not come from it.
    """
    # whoever evaluates does so without gradients, and tensors made in inference mode cannot have any: hence the copy
    with torch.inference_mode(False), torch.enable_grad(), _evaluating(network):
        images = images.clone().requires_grad_()  # so that there are gradients in frozen networks, too
        features, logits = network.forward_features(images, counts)
        level = choose_level(features) if level is None else level
        if level not in features:
            raise ValueError(f"level is {level!r}, but the backbone gives {', '.join(features)}; choose one of those.")
        asked = torch.as_tensor(label, device=logits.device).expand(len(logits)).clone()
        (gradients,) = torch.autograd.grad(logits.gather(1, asked[:, None]).sum(), features[level], allow_unused=True)
        if gradients is None:
            raise ValueError(
                f"what {type(network.backbone).__name__} says does not come from its level {level} as it is given; "
                f"choose {list(features)[-1]}."
            )
        maps = features[level].detach().float()
    axes = tuple(range(2, maps.dim()))
    weights = gradients.float().mean(dim=axes, keepdim=True)
    cams = (weights * maps).sum(dim=1, keepdim=True).relu()
    size = images.shape[-len(axes) :]
    cams = F.interpolate(cams, size=size, mode=_LINEAR[len(axes)], align_corners=False)[:, 0]
    cams = network.placed(cams, images, counts)
    largest = cams.amax(dim=tuple(range(1, cams.dim())), keepdim=True)
    return cams / largest.clamp(min=torch.finfo(torch.float32).tiny)


def choose_level(features: Mapping[str, Tensor]) -> str:
    """Return the name of the coarsest map with cells enough to show a place, or of the finest if none has.

    Args:
        features: dict of level to (M, C, H, W) or (M, C, D, H, W), fine to coarse.
    """
    enough = [name for name, x in features.items() if x[0, 0].numel() >= LEAST_CELLS ** (x.dim() - 2)]
    return enough[-1] if enough else next(iter(features))


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode, and each of its modules back into its own."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
