"""`vertebra analyze WHAT RUN_OR_NAME`: why residual networks work, on a run or on an untrained backbone."""

from __future__ import annotations

import argparse
import difflib
import importlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from vertebra.tools.errors import exit_code

if TYPE_CHECKING:
    from vertebra.tools.analyses.findings import Findings


class Analysis(NamedTuple):
    """An analysis.

    Attributes:
        module: with `DESCRIPTION`, `add_flags(parser)` and `analyze(args)`; imported on demand only.
        summary: one line for `vertebra analyze --help`.
    """

    module: str
    summary: str


ANALYSES: Mapping[str, Analysis] = {
    "signal": Analysis("vertebra.tools.analyses.signal", "activations and gradients by depth, untrained and trained"),
    "landscape": Analysis(
        "vertebra.tools.analyses.landscape", "loss around the weights, roughness, path of the training"
    ),
    "lesion": Analysis("vertebra.tools.analyses.lesion", "error without blocks or in another order; path lengths"),
    "cost": Analysis("vertebra.tools.analyses.cost", "operations, memory and time of each block, with a roofline"),
    "alignment": Analysis("vertebra.tools.analyses.alignment", "Jacobians of the residual branches: do blocks align?"),
    "depth-flow": Analysis("vertebra.tools.analyses.depth_flow", "depth as time: steps, refinement, an ODE's path"),
    "information": Analysis("vertebra.tools.analyses.information", "information of layers about labels and input"),
    "similarity": Analysis("vertebra.tools.analyses.similarity", "CKA of every pair of layers, of one or two networks"),
    "ablate": Analysis("vertebra.tools.analyses.ablate", "one part of a network changed at a time, trained small"),
}
_USAGE = "usage: vertebra analyze WHAT RUN_OR_NAME [--seed N] [--output FOLDER] [--FLAG VALUE ...]"


def main(argv: Sequence[str] | None = None) -> int:
    """Run an analysis, print what it found, and write figures, CSV, JSON and a page."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print(_help())
        return 0 if words else 2
    what = words[0]
    if what not in ANALYSES:
        close = difflib.get_close_matches(what, ANALYSES, n=1)
        near = f"did you mean {close[0]}?" if close else f"choose one of {', '.join(ANALYSES)}."
        print(f"vertebra: unknown analysis {what!r}; {near}", file=sys.stderr)
        return 2
    module = importlib.import_module(ANALYSES[what].module)
    parser = argparse.ArgumentParser(
        prog=f"vertebra analyze {what}",
        description=module.DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "target", metavar="RUN_OR_NAME", help="run folder, checkpoint, or name of a backbone (untrained)"
    )
    module.add_flags(parser)
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of all random numbers (default: 0)")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help=f"output folder (default: analyze-{what} in the run folder, runs/analyze-{what}-NAME for a backbone)",
    )
    args = parser.parse_args(words[1:])

    return exit_code(lambda: _analyze(what, module.analyze, args))


def _analyze(what: str, analyze: Callable[[argparse.Namespace], Findings], args: argparse.Namespace) -> None:
    from vertebra.tools.analyses.findings import write_findings

    started = time.monotonic()
    folder = args.output or output_folder(what, args.target)
    findings = analyze(args)
    files = write_findings(folder, what, findings)
    print(*findings.sentences, sep="\n")
    print(f"page: {files[0]}, {len(files) - 1} more files beside it, {time.monotonic() - started:.0f} s")


def output_folder(what: str, target: str) -> Path:
    """Return where the files of an analysis go if no folder is given: beside the run, or under `runs`."""
    from vertebra.tasks.reporting.analyses import FOLDER
    from vertebra.tools.analyses.networks.subject import is_run
    from vertebra.tools.trained.location import find_checkpoint, run_folder

    if is_run(target):
        return run_folder(find_checkpoint(target)) / f"{FOLDER}{what}"
    return Path("runs") / f"{FOLDER}{what}-{target.replace(':', '-')}"


def _help() -> str:
    width = max(map(len, ANALYSES)) + 2
    return "\n".join(
        [
            _USAGE,
            "",
            "Why residual networks work: figures (SVG and PNG), a CSV, a JSON and a page, of a trained run, of a",
            "checkpoint, or of an untrained backbone by its name.",
            "",
            "WHAT:",
            *(f"  {name:<{width}}{analysis.summary}" for name, analysis in ANALYSES.items()),
            "",
            "Run vertebra analyze WHAT --help for its flags, its paper, and what one may conclude.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
