"""`vertebra predict CHECKPOINT PATHS...`: inference with a self-contained checkpoint.

Network, preprocessing and class names come from the configuration inside the checkpoint.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_DESCRIPTION = """\
Predict on images, videos or scans with a trained checkpoint. Output per task:
  detection       detections.json (COCO results) and pictures/
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
  --model.views SlidingWindow --model.views.size "[512, 512]"   (segmentation: tile large images)
  --model.explain true   (medical: also write class activation maps to explanations/)
The long form is vertebra predict -c CONFIG --ckpt_path FILE --data.predict PATHS.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Predict on files and folders, and write the results."""
    parser = argparse.ArgumentParser(
        prog="vertebra predict",
        usage="vertebra predict CHECKPOINT PATH [PATH ...] [--output FOLDER] [--trust] [--FLAG VALUE ...]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "checkpoint",
        type=Path,
        metavar="CHECKPOINT",
        help="checkpoint of `vertebra fit`, such as runs/NAME/checkpoints/best.ckpt",
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
        "--trust",
        action="store_true",
        help="allow classes outside this package in the checkpoint's configuration, which runs their code; only for "
        "checkpoints from a trusted source (default: refuse them)",
    )
    given = list(sys.argv[1:] if argv is None else argv)
    # the long form; Lightning also starts the other processes of a multi-device run with it
    if {"-c", "--config"} & set(given):
        from vertebra.tools import train

        return train.main(["predict", *given])
    args, flags = parser.parse_known_args(given)
    # before torch is imported, which takes seconds
    for path in args.paths:
        if not path.exists():
            print(f"vertebra: {path} does not exist; give files or folders of files.", file=sys.stderr)
            return 1

    import yaml

    from vertebra.tools import train  # imports torch, which would slow down --help

    try:
        config = predict_config(args.checkpoint, args.paths, args.trust)
    except (ValueError, FileNotFoundError) as error:
        print(f"vertebra: {error}", file=sys.stderr)
        return 1
    # LightningCLI takes a configuration as a file only, and all processes of a multi-device run have to find it
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "predict.yaml"
        file.write_text(yaml.safe_dump(config), encoding="utf-8")
        run = ["--ckpt_path", str(args.checkpoint), "--trainer.default_root_dir", str(args.output)]
        return train.main(["predict", "-c", str(file), *run, *flags])


def predict_config(checkpoint: Path, paths: Sequence[Path], trust: bool = False) -> dict[str, Any]:
    """Return the training configuration of a checkpoint, adapted to prediction on `paths`.

    Args:
        checkpoint: path of the checkpoint.
        paths: files, and folders of files.
        trust: whether the configuration may name classes outside this package.

    Raises:
        FileNotFoundError: the checkpoint does not exist.
        ValueError: it was not written by `vertebra fit`, or names untrusted classes.
    """
    config, content = checkpoint_config(checkpoint, trust)
    # a training set is not needed: the classes and their order come from the checkpoint
    arguments = config["data"]["init_args"]
    arguments["predict"] = [str(path) for path in paths]
    arguments["class_names"] = content["class_names"]
    return config


def checkpoint_config(checkpoint: Path, trust: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return model and data of the configuration in a checkpoint, and the content of the checkpoint.

    Raises:
        FileNotFoundError: the checkpoint does not exist.
        ValueError: it was not written by `vertebra fit`, or names untrusted classes.
    """
    # imports torch, which would slow down --help
    from vertebra.tools.checkpoint_config import check_names, read_config
    from vertebra.tools.checkpoint_file import read_checkpoint

    if not checkpoint.exists():
        raise FileNotFoundError(f"{checkpoint} does not exist; give a checkpoint of `vertebra fit`.")
    content = read_checkpoint(checkpoint)
    try:
        config = read_config(content.get("config"))
        if not trust:
            check_names(config)
    except ValueError as error:
        raise ValueError(f"{checkpoint}: {error}") from error
    return config, content


if __name__ == "__main__":
    sys.exit(main())
