"""Vision Transformers (ViT) with a simple feature pyramid. Names and weights are timm's.

- vit: An Image is Worth 16x16 Words, Dosovitskiy et al. 2020, https://arxiv.org/abs/2010.11929
- deit: Training data-efficient image transformers, Touvron et al. 2020, https://arxiv.org/abs/2012.12877; the same
  network, trained on ImageNet alone
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from torch import Tensor, nn

from vertebra.backbones.backbone import Backbone, BackboneOptions, Level
from vertebra.backbones.checkpointing import checkpoint_block, checkpointed_stages
from vertebra.backbones.registry import register
from vertebra.backbones.simple_pyramid import SimplePyramid
from vertebra.backbones.transformer import EPS, EncoderBlock, PatchEmbedding, is_square, resized_positions

NUM_STAGES = 4  # into which the blocks are divided for freezing and checkpointing
POSITIONS = "patch_embed.pos_embed"
# of width, depth and heads
SIZES = {"tiny": (192, 12, 3), "small": (384, 12, 6), "base": (768, 12, 12), "large": (1024, 24, 16)}
# family, size, pixels of a patch, and of the images for which position embeddings are stored
NAMES = (
    *("vit_tiny_patch16_224", "vit_tiny_patch16_384"),
    *("vit_small_patch16_224", "vit_small_patch16_384", "vit_small_patch32_224", "vit_small_patch32_384"),
    *("vit_base_patch16_224", "vit_base_patch16_384", "vit_base_patch32_224", "vit_base_patch32_384"),
    *("vit_large_patch16_224", "vit_large_patch16_384", "vit_large_patch32_224", "vit_large_patch32_384"),
    *("vit_base_patch8_224", "deit_tiny_patch16_224", "deit_small_patch16_224"),
    *("deit_base_patch16_224", "deit_base_patch16_384"),
)


class ViT(Backbone):
    """Vision Transformer whose last map becomes C2 to C5 through a simple feature pyramid.

    The map is that of the patch tokens after the final norm; a classifier takes the class token instead, as the
    published weights do. Attention is global in all blocks, where ViTDet has windows in most of them. For
    `frozen_stages` and `checkpointing` a quarter of the blocks each counts as the stage of C2, C3, C4 and C5.

    Args:
        options: of any backbone; unsupported ones are refused.
        width: of the tokens.
        depth: number of blocks.
        num_heads: of the attention.
        patch: pixels per side of a patch, a power of 2.
        size: pixels per side of the images for which position embeddings are stored.

    Shape:
        (N, in_channels, H, W) -> dict of `level.name` to (N, level.channels, ceil(H / reduction), ceil(W / reduction))

    Raises:
        ValueError: an option that a Transformer does not have.
    """

    def __init__(
        self, options: BackboneOptions, *, width: int, depth: int, num_heads: int, patch: int = 16, size: int = 224
    ) -> None:
        super().__init__()
        supported = "in_channels output_stride out_levels frozen_stages zero_init drop_path_rate checkpointing"
        options.require_only("a Vision Transformer", *supported.split())
        self.patch_embed = PatchEmbedding(options.in_channels, width, patch, size // patch)
        rates = [options.drop_path_rate * index / max(1, depth - 1) for index in range(depth)]
        self.blocks = nn.Sequential(*(EncoderBlock(width, num_heads, 4 * width, rate) for rate in rates))
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.pyramid = SimplePyramid(width, patch, options.output_stride)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        if options.zero_init:
            for module in self.modules():
                if isinstance(last := getattr(module, "last_layer", None), nn.Linear):
                    nn.init.zeros_(last.weight)

        names = [level.name for level in self.pyramid.levels]
        stages = [range(depth * i // NUM_STAGES, depth * (i + 1) // NUM_STAGES) for i in range(NUM_STAGES)]
        wanted = checkpointed_stages(options.checkpointing, names, names)
        self.checkpointed = {
            index for name, stage in zip(names, stages, strict=True) if name in wanted for index in stage
        }
        self.choose_levels(self.pyramid.levels, options.out_levels)
        if options.frozen_stages:
            frozen = [f"blocks.{i}" for stage in stages[: options.frozen_stages - 1] for i in stage]
            self.freeze("patch_embed", *frozen, *(["norm"] if options.frozen_stages > NUM_STAGES else []))

    @property
    def compiled_blocks(self) -> list[str]:
        """Names of the blocks, which `compile_parts` compiles once for all, beside the patch embedding."""
        return [] if self.checkpointed else [f"blocks.{index}" for index in range(len(self.blocks))]

    @property
    def layers(self) -> list[list[str]]:
        """The patch embedding with the positions, and each block; norm and pyramid are parts of the head.

        As in fine-tuning of BEiT, Bao et al. 2021, https://arxiv.org/abs/2106.08254.
        """
        return [["patch_embed"], *([f"blocks.{index}"] for index in range(len(self.blocks)))]

    def choose_levels(self, available: Sequence[Level], wanted: Sequence[str] | None) -> None:
        super().choose_levels(available, wanted)
        self.pyramid.keep([level.name for level in self.levels])

    def trim_for_classifier(self) -> None:
        """Remove the upsampling to fine maps, on which neither the class token nor the coarsest map depends."""
        upsampled = {name for name, _ in self.pyramid.named_children()} - {self.levels[-1].name}
        self.choose_levels(self.levels, [level.name for level in self.levels if level.name not in upsampled])

    def tokens(self, images: Tensor) -> Tensor:
        """Return the normalized tokens of the last block, (N, 1 + L, width), the class token first."""
        x = self.patch_embed(images)
        for index, block in enumerate(self.blocks):
            x = checkpoint_block(block, x) if index in self.checkpointed and self.training else block(x)
        return self.norm(x)

    def embed(self, images: Tensor) -> Tensor:
        """Return the class token, (N, width)."""
        return self.tokens(images)[:, 0]

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        sides, patch = images.shape[2:], self.patch_embed.patch
        grid = tuple(-(-side // patch) for side in sides)
        features: dict[str, Tensor] = self.pyramid(self.tokens(images)[:, 1:].transpose(1, 2).unflatten(2, grid))
        for name, _, reduction in self.levels:
            if isinstance(reduction, int) and reduction < patch:
                # without what comes from the padding to whole patches
                height, width = (-(-side // reduction) for side in sides)
                features[name] = features[name][..., :height, :width]
        return features

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return weights of timm's classifier, or of this network with other levels, for this network.

        Position embeddings are resized to the grid of this network; the pyramid, which timm's weights do not have,
        keeps its values.
        """
        own, renamed = self.state_dict(), super().own_names(state)
        renamed = {key: value for key, value in renamed.items() if key in own or not key.startswith("pyramid.")}
        if POSITIONS in renamed and is_square(renamed[POSITIONS]):
            side = round((own[POSITIONS].shape[1] - 1) ** 0.5)
            renamed[POSITIONS] = resized_positions(renamed[POSITIONS], side, side)
        return {key: value for key, value in own.items() if key.startswith("pyramid.")} | renamed


for name in NAMES:
    _, of_size, of_patch, of_image = name.split("_")
    token_width, num_blocks, heads = SIZES[of_size]
    register(
        partial(
            ViT,
            width=token_width,
            depth=num_blocks,
            num_heads=heads,
            patch=int(of_patch.removeprefix("patch")),
            size=int(of_image),
        ),
        name,
    )
