"""Names of the weights in `RTDetrForObjectDetection` of transformers, and what they are here.

Both spellings of its attention layers are read: that of the published files, and that of transformers since version 5.
"""

from __future__ import annotations

_BACKBONE = (
    (r"^model\.backbone\.model\.", "backbone."),
    *((rf"^backbone\.embedder\.embedder\.{i}\.convolution\.", f"backbone.conv1.{3 * i}.") for i in range(3)),
    *((rf"^backbone\.embedder\.embedder\.{i}\.normalization\.", f"backbone.conv1.{3 * i + 1}.") for i in range(2)),
    (r"^backbone\.embedder\.embedder\.2\.normalization\.", "backbone.bn1."),
    *((rf"^backbone\.encoder\.stages\.{i}\.layers\.", f"backbone.layer{i + 1}.") for i in range(4)),
    *((rf"^(backbone\.layer\d\.\d+)\.layer\.{i}\.convolution\.", rf"\1.conv{i + 1}.") for i in range(3)),
    *((rf"^(backbone\.layer\d\.\d+)\.layer\.{i}\.normalization\.", rf"\1.bn{i + 1}.") for i in range(3)),
    (r"^(backbone\.layer\d\.\d+)\.shortcut\.(?:1\.)?convolution\.", r"\1.downsample.1."),
    (r"^(backbone\.layer\d\.\d+)\.shortcut\.(?:1\.)?normalization\.", r"\1.downsample.2."),
)
_NECK = (
    (r"^model\.encoder_input_proj\.", "neck.input_proj."),
    (r"^model\.encoder\.(?:aifi|encoder)\.0\.layers\.0\.", "neck.aifi."),
    (r"^model\.encoder\.", "neck."),
    (r"^(neck\..+_blocks\.\d+)\.bottlenecks\.", r"\1.blocks."),
    (r"^(neck\..+)\.conv\.weight$", r"\1.0.weight"),
    (r"^(neck\..+)\.norm\.", r"\1.1."),
    (r"^neck\.aifi\.(?:mlp\.)?fc1\.", "neck.aifi.mlp.0."),
    (r"^neck\.aifi\.(?:mlp\.)?fc2\.", "neck.aifi.mlp.2."),
)
_QUERIES = (
    (r"^model\.denoising_class_embed\.", "denoising.embedding."),
    (r"^model\.enc_output\.", "selection.project."),
    (r"^model\.enc_score_head\.", "selection.score_head."),
    (r"^model\.enc_bbox_head\.", "selection.box_head."),
    (r"^model\.decoder_input_proj\.", "input_proj."),
)
_DECODER = (
    (r"^(?:model\.decoder\.)?class_embed\.", "decoder.class_heads."),
    (r"^(?:model\.decoder\.)?bbox_embed\.", "decoder.box_heads."),
    (r"^model\.decoder\.query_pos_head\.", "decoder.query_position."),
    (r"^model\.decoder\.", "decoder."),
    (r"^(decoder\.layers\.\d+)\.encoder_attn", r"\1.cross_attn"),
    (r"^(decoder\.layers\.\d+)\.(?:mlp\.)?fc1\.", r"\1.mlp.0."),
    (r"^(decoder\.layers\.\d+)\.(?:mlp\.)?fc2\.", r"\1.mlp.2."),
)
# a perceptron counts its linear layers there, and the activations between them as well here
_PERCEPTRONS = tuple(
    (rf"^((?:selection\.box_head|decoder\.query_position|decoder\.box_heads\.\d+))\.layers\.{i}\.", rf"\1.{2 * i}.")
    for i in range(3)
)
_LAYERS = (
    (r"^((?:neck\.aifi|decoder\.layers\.\d+)\.self_attn)\.out_proj\.", r"\1.o_proj."),
    (r"^((?:neck\.aifi|decoder\.layers\.\d+)\.\w+_attn)_layer_norm\.", r"\1_norm."),
    (r"^(neck\.aifi|decoder\.layers\.\d+)\.final_layer_norm\.", r"\1.mlp_norm."),
)

TRANSFORMERS_NAMES: tuple[tuple[str, str], ...] = (*_BACKBONE, *_NECK, *_QUERIES, *_DECODER, *_PERCEPTRONS, *_LAYERS)
