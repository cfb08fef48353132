"""`vertebra quantize RUN`: a trained network as an int8 ONNX file, measured beside the float32 file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from vertebra.tools.arguments.early_checks import check_run
from vertebra.tools.arguments.run_file import add_input_arguments, check_output, file_parser
from vertebra.tools.errors import exit_code

_DESCRIPTION = """\
Write the network of a run to an int8 ONNX file: static quantization, per channel, calibrated on 128 training images.
Where the metric loses more than half a point on them, the most sensitive layers stay in float32. Metrics on the
validation split, file size and latency beside the float32 file are printed, and written to quantize.json beside the
file, which `vertebra predict` and `vertebra validate` take like one of `vertebra export`. With --finetune EPOCHS the
network is first fine-tuned with the recipe of the run and layers that compute as int8 ones; RUN_int8 is the new run.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Quantize the network of a run, and measure the file."""
    parser = file_parser(
        "vertebra quantize", _DESCRIPTION, "NAME.onnx (default: export/model_int8.onnx in the run folder)"
    )
    parser.add_argument(
        "--report", action="store_true", help="rank all layers by what the metric or the outputs lose with each in int8"
    )
    add_input_arguments(
        parser,
        normalized=", as in `vertebra export`",
        images="calibrate and compare on, without labels (default: training and validation split of the run)",
    )
    parser.add_argument(
        "--finetune",
        type=int,
        metavar="EPOCHS",
        help="fine-tune before, at a hundredth of the learning rate; further flags are those of `vertebra fit`",
    )
    args, flags = parser.parse_known_args(sys.argv[1:] if argv is None else argv)
    if flags and args.finetune is None:
        parser.error(f"unrecognized arguments: {' '.join(flags)}")
    return exit_code(lambda: _quantize(args, flags))


def _quantize(args: argparse.Namespace, flags: Sequence[str]) -> None:
    if args.finetune is not None and args.finetune < 1:
        raise ValueError(f"--finetune is {args.finetune}; expected a number of epochs, 1 or more.")
    check_output(args.output, (".onnx",))
    check_run(args.run)
    from vertebra.tools.exporting.onnx_file import require  # imports torch, which takes seconds

    require("onnx", "onnxscript", "onnxruntime")
    from vertebra.tools.trained.quantizing_run import quantize_run

    run = args.run
    if args.finetune is not None:
        from vertebra.tools.finetuning.int8_run import finetune_int8

        run = finetune_int8(run, args.finetune, flags, args.normalized, args.images, args.trust)
    print(quantize_run(run, args.output, args.normalized, args.images, args.report, args.trust))


if __name__ == "__main__":
    sys.exit(main())
