"""`vertebra export RUN`: a trained network as an ONNX or torch.export file, compared with the run before it is done."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from vertebra.tools.arguments.early_checks import check_run

_DESCRIPTION = """\
Write the network of a run to an ONNX file for onnxruntime and other runtimes, to a .pt2 file for torch.export.load, or
to one that AOTInductor compiles, with dynamic batch, height and width. Classes, preprocessing and configuration are in
the metadata of the file. It is compared with the network of the run on the validation split (or on --images): outputs,
decisions and metrics are printed and written to export.json beside the file, and beyond the tolerance there is no file.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Export the network of a run, and compare the file with it."""
    parser = argparse.ArgumentParser(
        prog="vertebra export", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder such as runs/NAME, or a checkpoint")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="file to write: NAME.onnx or NAME.pt2 (default: export/model.onnx in the run folder)",
    )
    parser.add_argument(
        "--aoti",
        action="store_true",
        help="compile the .pt2 file for this kind of CPU with AOTInductor, which needs a C++ compiler and minutes",
    )
    parser.add_argument(
        "--normalized",
        action="store_true",
        help="the file takes normalized float32 inputs (default: uint8 pixels, and normalizes them; medical scans are "
        "always scaled outside)",
    )
    parser.add_argument(
        "--images",
        type=Path,
        nargs="+",
        metavar="PATH",
        help="samples to compare on (default: the validation split of the run)",
    )
    parser.add_argument("--trust", action="store_true", help="allow classes outside this package in the configuration")
    args = parser.parse_args(sys.argv[1:] if argv is None else argv)
    try:
        if args.output is not None and args.output.suffix not in (".onnx", ".pt2"):
            raise ValueError(f"--output is {args.output}; expected a name that ends in .onnx or .pt2.")
        if args.aoti and args.output is not None and args.output.suffix != ".pt2":
            raise ValueError(f"--output is {args.output}; expected a name that ends in .pt2 with --aoti.")
        check_run(args.run)
        from vertebra.tools.trained.exporting_run import export_run  # imports torch, which takes seconds

        summary = export_run(args.run, args.output, args.normalized, args.images, args.trust, args.aoti)
    except (ValueError, FileNotFoundError) as error:
        print(f"vertebra: {error}", file=sys.stderr)
        return 1
    print(summary)
    return 0


if __name__ == "__main__":
    sys.exit(main())
