"""Names and shapes of the weights of torchvision's RetinaNet and FCOS."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from vertebra.backbones.conventions import Renames

CLASS_LOGITS = "head.classification_head.cls_logits."
# of the head, whose stacks of convolutions differ further
HEAD_NAMES: Renames = (
    (r"^head\.classification_head\.conv\.", "head.cls_conv."),
    (r"^head\.classification_head\.cls_logits\.", "head.cls_logits."),
    (r"^head\.regression_head\.conv\.", "head.box_conv."),
    (r"^head\.regression_head\.bbox_reg\.", "head.bbox_reg."),
)


def without_background(state: Mapping[str, Tensor], num_anchors: int) -> dict[str, Tensor]:
    """Return a state dict whose class logits have no background, which is class 0 in torchvision's.

    Args:
        state: of a network of torchvision's, or of ours, which has no such key.
        num_anchors: at each pixel; the channels of the logits are anchors times classes.
    """
    return {
        key: value.unflatten(0, (num_anchors, -1))[:, 1:].flatten(0, 1) if key.startswith(CLASS_LOGITS) else value
        for key, value in state.items()
    }
