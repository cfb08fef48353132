"""`vertebra export RUN`: a trained network as an ONNX or torch.export file, compared with the run before it is done."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from vertebra.tools.arguments.early_checks import check_run
from vertebra.tools.arguments.run_file import add_input_arguments, check_output, file_parser
from vertebra.tools.errors import exit_code

_DESCRIPTION = """\
Write the network of a run to an ONNX file for onnxruntime and other runtimes, to a .pt2 file for torch.export.load, or
to one that AOTInductor compiles, with dynamic batch, height and width. Classes, preprocessing and configuration are in
the metadata of the file. It is compared with the network of the run on the validation split (or on --images): outputs,
decisions and metrics are printed and written to export.json beside the file, and beyond the tolerance there is no file.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Export the network of a run, and compare the file with it."""
    parser = file_parser(
        "vertebra export", _DESCRIPTION, "NAME.onnx or NAME.pt2 (default: export/model.onnx in the run folder)"
    )
    parser.add_argument(
        "--aoti",
        action="store_true",
        help="compile the .pt2 file for this kind of CPU with AOTInductor, which needs a C++ compiler and minutes",
    )
    add_input_arguments(
        parser,
        normalized=" (default: uint8 pixels, and normalizes them; medical scans are always scaled outside)",
        images="compare on (default: the validation split of the run)",
    )
    args = parser.parse_args(sys.argv[1:] if argv is None else argv)
    return exit_code(lambda: _export(args))


def _export(args: argparse.Namespace) -> None:
    check_output(args.output, (".onnx", ".pt2"))
    if args.aoti:
        check_output(args.output, (".pt2",), " with --aoti")
    check_run(args.run)
    from vertebra.tools.trained.exporting_run import export_run  # imports torch, which takes seconds

    print(export_run(args.run, args.output, args.normalized, args.images, args.trust, args.aoti))


if __name__ == "__main__":
    sys.exit(main())
