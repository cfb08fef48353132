"""timm (pytorch-image-models) networks as backbones, and timm's published weights.

timm is imported inside functions, since its import takes seconds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn

from vertebra.backbones.backbone import Backbone, BackboneOptions, Level
from vertebra.backbones.hub_access import one_attempt

# arguments by which networks with position embeddings or windows accept any size; each family has one of them
ANY_SIZE: tuple[dict[str, Any], ...] = ({"dynamic_img_size": True}, {"strict_img_size": False}, {})
PROBE_SIZE = (64, 96)  # pixels; detectors pad to multiples of 32, so that a backbone must accept this size


class TimmBackbone(Backbone):
    """A timm feature network; of several maps with the same reduction the last one is returned.

    Levels are named by the reductions of the undilated network: C2 has 4, C5 has 32. Maps finer than C2, such as C0 and
    C1 of a VGG, are returned where `out_levels` names them.

    Args:
        name: timm's, with or without the tag of its weights.
        options: of any backbone; unsupported ones are refused.

    Shape:
        (N, in_channels, H, W) -> dict of `level.name` to (N, level.channels, H / reduction, W / reduction), with sizes
        rounded up or down depending on the network
    """

    def __init__(self, name: str, options: BackboneOptions) -> None:
        super().__init__()
        check_name(name)
        for option in ("zero_init", "checkpointing"):
            if getattr(options, option):
                raise ValueError(
                    f"{option} is set, but timm:{name} has no such option; leave it out, or take a ResNet."
                )
        with torch.device("meta"):
            whole = build(name).eval()
        indices = dict(zip(_level_names(whole, name), whole.feature_info.out_indices, strict=True))
        wanted = options.out_levels
        if wanted is None:
            wanted = [level for level in indices if int(level[1:]) >= 2] or list(indices)
        self.choose_levels([Level(level, 0, 0) for level in indices], wanted)
        if whole.pretrained_cfg.get("fixed_input_size") and not _accepts_any_size(whole):
            raise ValueError(
                f"timm:{name} takes images of one size only, but a backbone must take any; choose a network without a "
                "fixed input size, such as timm:convnext_tiny."
            )

        self.timm_name = name
        config = whole.pretrained_cfg
        if config.get("mean") and config.get("std"):
            self.normalization = tuple(config["mean"]), tuple(config["std"])
        names = [level.name for level in self.levels]
        self.network = _convert_norms(build(name, options, [indices[level] for level in names]), options.norm, name)
        info = self.network.feature_info
        self.levels = tuple(map(Level, names, info.channels(), info.reduction()))
        if options.frozen_stages:
            ends = dict(zip(_level_names(whole, name), whole.feature_info.module_name(), strict=True))
            self.freeze(*_first_stages(self.network, ends, options.frozen_stages))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {level.name: x for level, x in zip(self.levels, _maps(self.network, images), strict=True)}

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return weights of timm's or torchvision's classifier under the names of the feature network.

        timm flattens modules in feature networks (`features.conv0` becomes `features_conv0`), so dots and underscores
        are equivalent. Keys of the classifier alone are dropped; unknown keys stay, for error messages.
        """
        import timm

        own = {_flat_key(key): key for key in self.state_dict()}
        with torch.device("meta"):
            classifier = {_flat_key(key) for key in timm.create_model(self.timm_name).state_dict()}
        renamed = {}
        for key, value in state.items():
            # torchvision's published DenseNet files are older than its code, with one more dot
            flat = re.sub(r"(denselayer\d+_(?:norm|conv))_([12]_)", r"\1\2", _flat_key(key))
            if flat in own:
                renamed[own[flat]] = value
            elif flat not in classifier:
                renamed[key] = value
        return renamed


def check_name(name: str) -> None:
    """Raise a ValueError with close matches for an unknown name or tag.

    Raises:
        ValueError: timm has no such network, or no weights of this tag for it.
    """
    import timm

    network, _, tag = name.partition(".")
    if not timm.is_model(network):
        close = get_close_matches(network, timm.list_models(), n=4, cutoff=0.5)
        near = f"; close names: {', '.join(close)}" if close else ""
        raise ValueError(f"timm has no network {network!r}{near}. All: timm.list_models().")
    tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{network}.*")]
    if tag and tag not in tags:
        raise ValueError(f"timm has no weights {tag!r} for {network}; choose {', '.join(tags) or 'none'}.")


def is_timm_model(name: str) -> bool:
    """Return whether timm has a network of this name, with or without a tag of weights."""
    import timm

    return timm.is_model(name.partition(".")[0])


def is_timm_encoder_block(module: nn.Module) -> bool:
    """Return whether a module is the pre-norm block of timm's Vision Transformers, and not of a class derived from it.

    Its parts are `norm1`, `attn`, `ls1`, `drop_path1`, and `norm2`, `mlp`, `ls2`, `drop_path2`.
    """
    kind = type(module)
    return (kind.__module__, kind.__qualname__) == ("timm.models.vision_transformer", "Block")


def timm_state_dict(name: str) -> dict[str, Tensor]:
    """Return the weights of timm's classifier `name` or `name.tag`, from the publisher's download cache.

    Raises:
        ValueError: timm has no such network, or no weights for it.
        FileNotFoundError: the weights are not in the cache and cannot be downloaded.
    """
    import timm
    from huggingface_hub.constants import HF_HUB_CACHE

    check_name(name)
    published = timm.get_pretrained_cfg(name)
    if published is None or not published.has_weights:
        raise ValueError(f"timm publishes no weights for {name!r}; give the path of a state dict: weights=PATH.")
    try:
        with one_attempt():
            return timm.create_model(name, pretrained=True).state_dict()
    except OSError as error:
        where = f"https://huggingface.co/{published.hf_hub_id}" if published.hf_hub_id else published.url
        cache = HF_HUB_CACHE if published.hf_hub_id else torch.hub.get_dir()
        raise FileNotFoundError(
            f"the weights of {name} are not in {cache} and could not be downloaded from {where} "
            f"({str(error).splitlines()[0]}). Fetch them on a machine with network, and give the path: "
            "weights=/path/to/model.safetensors."
        ) from error


def build(name: str, options: BackboneOptions | None = None, indices: list[int] | None = None) -> Any:
    """Build timm's feature network with the options that are arguments of timm.

    Raises:
        ValueError: the family has no such option, or returns no feature maps.
    """
    import timm

    options = options or BackboneOptions()
    arguments: dict[str, Any] = {}
    if options.output_stride != 32:
        arguments["output_stride"] = options.output_stride
    if options.drop_path_rate:
        arguments["drop_path_rate"] = options.drop_path_rate
    where: dict[str, Any] = {} if indices is None else {"out_indices": tuple(indices)}
    for any_size in ANY_SIZE:
        try:
            return timm.create_model(
                name, features_only=True, in_chans=options.in_channels, **arguments, **where, **any_size
            )
        except TypeError as error:  # the family has no such argument
            reason: Exception = error
        except (AssertionError, RuntimeError, ValueError, KeyError) as error:  # how families refuse an option
            reason = error
            break
    if arguments:
        given = " and ".join(f"{option}={value}" for option, value in arguments.items())
        raise ValueError(f"timm:{name} does not support {given}; leave it out, or take a ResNet.") from reason
    raise ValueError(
        f"timm:{name} returns no feature maps ({reason}); choose a network that does, such as timm:convnext_tiny."
    ) from reason


def _level_names(network: Any, name: str) -> list[str]:
    """Return level names of an undilated network by its reductions; names may repeat."""
    reductions = network.feature_info.reduction()
    if any(reduction != 2 ** round(math.log2(reduction)) for reduction in reductions):
        raise ValueError(
            f"timm:{name} has maps of reductions {reductions}, but a pyramid needs powers of 2; choose a "
            "network that halves its maps, such as timm:convnext_tiny."
        )
    return [f"C{round(math.log2(reduction))}" for reduction in reductions]


def _maps(network: Any, images: Tensor) -> list[Tensor]:
    """Return the network's maps as (N, C, H, W), also from networks with channels last."""
    maps = network(images)
    channels_last = str(getattr(network, "output_fmt", "NCHW")).endswith("NHWC")
    return [x.permute(0, 3, 1, 2) for x in maps] if channels_last else list(maps)


def _accepts_any_size(network: Any) -> bool:
    """Return whether a network on the meta device returns maps of the expected shapes for another size."""
    height, width = PROBE_SIZE
    try:
        maps = _maps(network, torch.zeros(1, 3, height, width, device="meta"))
    except Exception:  # the type of error depends on the network
        return False
    info = network.feature_info
    expected = [(c, height // r, width // r) for c, r in zip(info.channels(), info.reduction(), strict=True)]
    return [tuple(x.shape[1:]) for x in maps] == expected


def _convert_norms(network: Any, norm: str, name: str) -> Any:
    if norm == "batch":
        return network
    if norm not in ("frozen", "sync") or not any(isinstance(module, nn.BatchNorm2d) for module in network.modules()):
        raise ValueError(
            f"norm is {norm!r}, but timm:{name} has the norms that it was published with; leave norm out, or take a "
            "ResNet."
        )
    from timm.layers import convert_sync_batchnorm, freeze_batch_norm_2d

    return freeze_batch_norm_2d(network) if norm == "frozen" else convert_sync_batchnorm(network)


def _first_stages(network: Any, ends: Mapping[str, str], count: int) -> list[str]:
    """Return the names of the modules up to the end of a stage.

    Args:
        network: timm's feature network.
        ends: the module that outputs each level.
        count: 1 for the stem, which ends before C2; 2 for the stem and C2, ...
    """
    from timm.models import FeatureDictNet

    order = [name for name, _ in network.named_children()]
    finer = [_flat_key(module) for level, module in ends.items() if int(level[1:]) <= max(1, count)]
    if not isinstance(network, FeatureDictNet):  # only there children run in the order of registration
        raise ValueError(
            f"frozen_stages is {count}, but the stages of this network are not identifiable; leave it out, and freeze "
            "modules by hand: body.network.MODULE.requires_grad_(False)."
        )
    if finer:
        end = order.index(finer[-1]) + 1 if finer[-1] in order else len(order)
    else:
        end = order.index(_flat_key(next(iter(ends.values()))))
    return [f"network.{name}" for name in order[:end]]


def _flat_key(key: str) -> str:
    for prefix in ("module.", "network.", "model."):
        key = key.removeprefix(prefix)
    return key.replace(".", "_")
