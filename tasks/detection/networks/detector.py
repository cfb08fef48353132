"""Base of all detectors: batching, input checks, backbone and neck."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from vertebra.backbones import Backbone
from vertebra.backbones.conventions import Renames, rename_keys
from vertebra.tasks.detection.parts.anchors import Anchors
from vertebra.tasks.detection.parts.batch import ImageBatch, Targets, pad_images, pad_targets
from vertebra.tasks.detection.parts.detection_rows import DetectionRows
from vertebra.tasks.training.cuda_graphs import no_graphs
from vertebra.tasks.training.divergence.finite_outputs import OutputChecks


class Detector(nn.Module, ABC):
    """Images to losses or detections. A network subclasses it with `losses` and `detect`, and adds its heads.

    Args:
        backbone: images to feature maps.
        neck: feature maps to a pyramid.

    Shape:
        - images: a list of (C, H, W) float tensors of any sizes, already normalized, or an `ImageBatch`
        - targets: for training, a list of dicts with `boxes` (G, 4) xyxy and `labels` (G,) in 1..K, or `Targets`;
          networks with masks also need `masks`, see `pad_targets`
        - output: with targets a dict of scalar losses, else one dict an image: `boxes` (D, 4) xyxy in that image's own
          pixels, `scores` (D,) in 0..1, `labels` (D,) in 1..K, best score first

    Attributes:
        compiled: the parts that `compile_parts` takes, which are those with weights; see
            `vertebra.tasks.training.compiling`.
        class_layers: layers whose size depends on the number of classes; see `vertebra.backbones.warm_start`.
        optional_parts: parts that a network may have and one that its weights come from may not; see there.
        graphs: CUDA graphs of `outputs` in evaluation without gradients; none by default. See `replay_graphs`.
        renames: patterns of a peer's keys and what replaces them, in this order; here those of torchvision's backbone
            and pyramid, of before and since its version 0.13.
    """

    graphs: Callable[..., Any]
    compiled: ClassVar[tuple[str, ...]] = ("backbone", "neck")
    class_layers: ClassVar[tuple[str, ...]] = ()
    optional_parts: ClassVar[tuple[str, ...]] = ()
    renames: ClassVar[Renames] = (
        (r"^backbone\.body\.", "backbone."),
        (r"^backbone\.fpn\.", "neck."),
        (r"^(neck\.(?:inner|layer)_blocks\.\d+)\.(weight|bias)$", r"\1.0.\2"),
    )

    def __init__(self, backbone: Backbone, neck: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.neck = neck
        self.graphs = no_graphs

    def forward(
        self,
        images: Sequence[Tensor] | ImageBatch,
        targets: Sequence[Mapping[str, Tensor]] | Targets | None = None,
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        batch = images if isinstance(images, ImageBatch) else pad_images(images)
        if targets is not None and not isinstance(targets, Targets):
            targets = pad_targets(targets)
        if targets is not None and len(targets.labels) != len(batch.images):
            raise ValueError(
                f"there are {len(batch.images)} images and {len(targets.labels)} targets; give a dict of boxes and "
                "labels for every image, with no rows where it shows nothing."
            )
        if targets is None:
            return self.find(batch).per_image()
        return self.losses(self.pyramid(batch), batch, targets)

    def pyramid(self, batch: ImageBatch) -> dict[str, Tensor]:
        """Return the feature maps that `losses` and `detect` are given, each (N, C, H_l, W_l), fine to coarse."""
        return self.neck(self.backbone(batch.images))

    def find(self, batch: ImageBatch) -> DetectionRows:
        """Return what is found in all images of a batch, as one table."""
        replayed = None if self.training else self.graphs(self._fixed_part, *batch)
        if replayed is not None:
            return self.finish(replayed[0], batch)
        # on a GPU the host waits once for all checks, and launches on until then
        checks = OutputChecks(deferred=batch.images.device.type != "cpu")
        return self.finish(self._outputs(batch, checks), batch)

    def _outputs(self, batch: ImageBatch, checks: OutputChecks) -> Any:
        return self.outputs(self.pyramid(batch), batch, checks)

    def _fixed_part(self, images: Tensor, sizes: Tensor) -> tuple[Any, list[Tensor]]:
        """Return the outputs without waiting for the device, and the anchors, which a graph of this has to keep."""
        outputs = self._outputs(ImageBatch(images, sizes), OutputChecks(deferred=True, allow_sync=False))
        anchors = [module for module in self.modules() if isinstance(module, Anchors)]
        return outputs, [tensor for module in anchors for tensor in module.cached()]

    @abstractmethod
    def losses(self, features: dict[str, Tensor], batch: ImageBatch, targets: Targets) -> dict[str, Tensor]:
        """Compare predictions with the true boxes, for all images at once and without waiting for the device.

        Args:
            features: the pyramid, each (N, C, H_l, W_l), fine to coarse.
            batch: the images that it was made of.
            targets: the true boxes.

        Returns:
            Scalar losses by name, whose sum is minimized.
        """

    @abstractmethod
    def detect(self, features: dict[str, Tensor], batch: ImageBatch) -> DetectionRows:
        """Return what is found in all images.

        Args:
            features: the pyramid, each (N, C, H_l, W_l), fine to coarse.
            batch: the images that it was made of.

        Raises:
            NonFiniteOutput: what the network computes for an image is not finite.
        """

    def outputs(self, features: dict[str, Tensor], batch: ImageBatch, checks: OutputChecks) -> Any:
        """Return what is computed in evaluation in fixed shapes, which a CUDA graph may replay; here the features.

        A network overrides it together with `finish`, and then has `detect` as both in a row. Nothing in it waits
        for the device if the checks are deferred.

        Args:
            features: the pyramid.
            batch: the images that it was made of.
            checks: is called with every output that must be finite.

        Returns:
            Tensors, in tuples and dicts.
        """
        return features

    def finish(self, outputs: Any, batch: ImageBatch) -> DetectionRows:
        """Return the detections, as `detect`, given `outputs`."""
        return self.detect(outputs, batch)

    @classmethod
    def has_masks(cls, options: Mapping[str, Any]) -> bool:
        """Return whether a network with these constructor arguments predicts masks."""
        return False

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a state dict, of this network or of a peer's, under this network's names and in its shapes."""
        return rename_keys(state, self.renames)
