"""Grad-CAM maps for 2-D and 3-D classifiers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vertebra.tasks.medical.image_network import MedicalClassifier
from vertebra.tasks.medical.study_network import StudyClassifier

MIN_CELLS = 7  # per side, as a geometric mean: 224 pixels at reduction 32
_LINEAR = {2: "bilinear", 3: "trilinear"}


def grad_cam(
    network: MedicalClassifier | StudyClassifier,
    images: Tensor,
    label: int | Tensor,
    level: str | None = None,
    counts: Sequence[int] | None = None,
) -> Tensor:
    """Return the Grad-CAM map of a class for each image, volume or study.

    Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization, Selvaraju et al. 2016,
    https://arxiv.org/abs/1610.02391: the channels of a feature map, weighted by the mean gradient of the class logit
    with respect to each, summed and rectified. Each slice, and each image of a study, has its own weights. The network
    runs in evaluation mode; its modes and the gradients of its parameters are left unchanged.

    Args:
        network: the classifier.
        images: input of the network, on its device.
        label: the class, 0..K-1; or one per study, (N,) int64.
        level: name of the feature map; None takes the coarsest with at least seven cells per side (geometric mean), as
            the last map of a photograph has. Of small volumes the last map is a single cell, which localizes nothing.
        counts: images per study, as in the network's forward.

    Returns:
        Float32 in the size of the images without their channels: (N, H, W), (N, D, H, W), and with several images per
        study (N, I, ...), 0 for padding. In 0..1, where 1 is the maximum of a study; all 0 without positive evidence
        for the class.

    Raises:
        ValueError: the backbone has no such level, or the logits do not depend on it.
    """
    # inference mode is left explicitly: tensors made in it never have gradients, hence also the clone
    with torch.inference_mode(False), torch.enable_grad(), _evaluating(network):
        images = images.clone().requires_grad_()  # gradients reach the maps of frozen networks, too
        features, logits = network.forward_features(images, counts)
        level = choose_level(features) if level is None else level
        if level not in features:
            raise ValueError(f"level is {level!r}, but the backbone has {', '.join(features)}; choose one of these.")
        labels = torch.as_tensor(label, device=logits.device).expand(len(logits)).clone()
        # studies are independent, so one backward pass of the sum gives the gradients of all
        (gradients,) = torch.autograd.grad(logits.gather(1, labels[:, None]).sum(), features[level], allow_unused=True)
        if gradients is None:
            raise ValueError(
                f"the logits do not depend on level {level} as {type(network.backbone).__name__} returns it; choose "
                f"{list(features)[-1]}."
            )
        maps = features[level].detach().float()
    axes = tuple(range(2, maps.dim()))
    weights = gradients.float().mean(dim=axes, keepdim=True)
    cams = (weights * maps).sum(dim=1, keepdim=True).relu()
    size = images.shape[-len(axes) :]
    cams = F.interpolate(cams, size=size, mode=_LINEAR[len(axes)], align_corners=False)[:, 0]
    # regrouped before normalizing: the maximum is taken over all images of a study
    cams = network.group_by_study(cams, images, counts)
    maximum = cams.amax(dim=tuple(range(1, cams.dim())), keepdim=True)
    return cams / maximum.clamp(min=torch.finfo(torch.float32).tiny)


def choose_level(features: Mapping[str, Tensor]) -> str:
    """Return the coarsest level with at least `MIN_CELLS` per side (geometric mean), or the finest without one.

    Args:
        features: dict of level to (M, C, H, W) or (M, C, D, H, W), fine to coarse.
    """
    fine_enough = [name for name, x in features.items() if x[0, 0].numel() >= MIN_CELLS ** (x.dim() - 2)]
    return fine_enough[-1] if fine_enough else next(iter(features))


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode within the context; the mode of each module is restored, as frozen parts may have their own."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
