"""`vertebra predict RUN PATHS...`: inference with a trained model.

Network, preprocessing and class names come from the configuration inside its checkpoint.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vertebra.tools.arguments.short_flags import task_of
from vertebra.tools.errors import user_message
from vertebra.tools.trained.checkpoint_config import parse_config
from vertebra.tools.trained.checkpoint_outline import read_outline
from vertebra.tools.trained.location import find_checkpoint, is_exported

_DESCRIPTION = """\
Predict on images, videos or scans with a trained checkpoint. Output per task:
  detection       detections.json (with --annotations: COCO results) and pictures/
  classification  predictions.csv
  segmentation    masks/ (indexed PNG, one value per class) and pictures/
  video           predictions.csv and timelines/ (scores over time)
  medical         predictions.csv
"""
_EPILOG = """\
Flags of `vertebra fit` may follow the paths, for instance
  --data.batch_size 8   --trainer.devices 2
  --model.embeddings true   (classification: also write the features of every image to embeddings.npz)
  --model.network.detections.score_threshold 0.3   (detection)
  --data.tiles.size "[512, 512]"   (detection: find small objects of large images in overlapping tiles)
  --model.views.flip true --model.views.scales "[0.8, 1.0, 1.25]"   (detection: several views of each image)
  --model.views SlidingWindow --model.views.size "[512, 512]"   (segmentation: tile large images)
  --model.explain true   (medical: also write class activation maps to explanations/)
The long form is vertebra predict -c CONFIG --ckpt_path FILE --data.predict PATHS.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Predict on files and folders, and write the results."""
    given = list(sys.argv[1:] if argv is None else argv)
    # the long form; Lightning also starts the other processes of a multi-device run with it
    if {"-c", "--config"} & set(given):
        from vertebra.tools import train

        return train.main(["predict", *given])
    args, flags = _parser().parse_known_args(given)
    try:
        if missing := [path for path in args.paths if not path.exists()]:
            raise FileNotFoundError(f"{missing[0]} does not exist; give files or folders of files.")
        checkpoint = find_checkpoint(args.model)
        _refuse_other_files(checkpoint, args.paths)
        if is_exported(checkpoint):
            return _predict_exported(checkpoint, args, flags)
        config = _config(checkpoint, args)
    except Exception as error:
        message = user_message(error, str(args.output))
        if message is None:  # a bug, whose traceback helps
            raise
        print(f"vertebra: {message}", file=sys.stderr)
        return 1
    return _run(checkpoint, config, args.output, flags)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vertebra predict",
        usage="vertebra predict RUN PATH [PATH ...] [--output FOLDER] [--annotations FILE] [--FLAG VALUE ...]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "model",
        type=Path,
        metavar="RUN",
        help="run folder such as runs/NAME (its best checkpoint), a checkpoint of `vertebra fit`, or an ONNX file of "
        "`vertebra export`",
    )
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="files, and folders of files")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("predictions"),
        metavar="FOLDER",
        help="output folder (default: predictions)",
    )
    parser.add_argument(
        "--annotations",
        type=Path,
        metavar="FILE",
        help="COCO file of the images (detection): detections.json then has its image and category ids",
    )
    parser.add_argument(
        "--trust",
        action="store_true",
        help="allow classes outside this package in the checkpoint's configuration, which runs their code; only for "
        "checkpoints from a trusted source (default: refuse them)",
    )
    return parser


def _refuse_other_files(checkpoint: Path, paths: Sequence[Path]) -> None:
    """Refuse folders without a file of the checkpoint's task, where the task is known without torch."""
    from vertebra.tools.autoconfig.predicted_files import refuse_other_files  # imports OpenCV

    outline = read_outline(checkpoint)
    try:
        config = parse_config(outline["config"]) if outline else {}
    except ValueError:  # the full reading names the checkpoint
        return
    refuse_other_files(task_of(config), paths)


def _config(checkpoint: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Return the configuration to predict with a checkpoint.

    Raises:
        ValueError: the checkpoint cannot be read, names untrusted classes, or has no ids of images.
    """
    from vertebra.tools.trained.assembly import set_annotations
    from vertebra.tools.trained.checkpoint_config import inference_config
    from vertebra.tools.trained.checkpoint_file import read_checkpoint

    config = inference_config(checkpoint, read_checkpoint(checkpoint), list(map(str, args.paths)), args.trust)
    if args.annotations is not None:
        set_annotations(config, args.annotations)
    return config


def _run(checkpoint: Path, config: dict[str, Any], output: Path, flags: Sequence[str]) -> int:
    """Predict with a checkpoint on one or several devices, and return the exit code."""
    import yaml

    from vertebra.tools import train

    # LightningCLI takes a configuration as a file only, and all processes of a multi-device run have to find it
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "predict.yaml"
        file.write_text(yaml.safe_dump(config), encoding="utf-8")
        run = ["--ckpt_path", str(checkpoint), "--trainer.default_root_dir", str(output)]
        return train.main(["predict", "-c", str(file), *run, *flags])


def _predict_exported(file: Path, args: argparse.Namespace, flags: Sequence[str]) -> int:
    """Predict with an exported file, which onnxruntime runs on the CPU.

    Raises:
        ValueError: there are flags of the long form, or no file can be read.
    """
    from vertebra.tools.trained.run import load

    if flags:
        raise ValueError(
            f"{flags[0]} is given, but {file} is an exported network, which takes no flags of `vertebra fit`. Leave it "
            "out, or predict with the run."
        )
    predictions = load(file, device="cpu", trust=args.trust).predict(args.paths, annotations=args.annotations)
    print(f"{predictions.save(args.output)}: {len(predictions)} predictions")
    return 0


if __name__ == "__main__":
    sys.exit(main())
