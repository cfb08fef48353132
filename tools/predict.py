"""`vertebra predict CHECKPOINT PATHS...`: a checkpoint knows its network, its image size and its classes."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

EPILOG = """with -c CONFIG it takes the flags of `vertebra fit`, with --ckpt_path FILE and --data.predict PATHS;
otherwise those flags may stand behind the paths: for instance
  --data.batch_size 8   --trainer.devices 2
  --model.embeddings true   (classification: the features of every image, too, in embeddings.npz)
  --model.network.detections.score_threshold 0.3   (detection)
  --model.views SlidingWindow --model.views.size "[512, 512]"   (segmentation: large images in windows)
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Predict on images and folders, and write results and pictures."""
    parser = argparse.ArgumentParser(
        prog="vertebra predict",
        description="Use a checkpoint on images. A detector writes detections.json (COCO results) and pictures/, a "
        "classifier predictions.csv, a segmenter masks/ (one number a class, in color) and pictures/.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("checkpoint", type=Path, help="what `vertebra fit` left under checkpoints/, such as best.ckpt")
    parser.add_argument("paths", nargs="+", type=Path, help="images and folders of images")
    parser.add_argument(
        "--output", type=Path, default=Path("predictions"), help="folder to write (default: predictions)"
    )
    parser.add_argument(
        "--trust",
        action="store_true",
        help="let the checkpoint name classes outside this package, which runs their code: for files of your own",
    )
    words = list(sys.argv[1:] if argv is None else argv)
    if {"-c", "--config"} & set(words):  # the long form, which the processes of a run on several devices are given
        from vertebra.tools import train

        return train.main(["predict", *words])
    args, flags = parser.parse_known_args(words)
    for path in args.paths:
        if not path.exists():
            print(f"vertebra: {path} does not exist; give images or folders of images.", file=sys.stderr)
            return 1

    import yaml

    from vertebra.tools import train  # after the help, which has no need of torch

    try:
        config = predict_config(args.checkpoint, args.paths, args.trust)
    except (ValueError, FileNotFoundError) as error:
        print(f"vertebra: {error}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "predict.yaml"
        file.write_text(yaml.safe_dump(config), encoding="utf-8")
        run = ["--ckpt_path", str(args.checkpoint), "--trainer.default_root_dir", str(args.output)]
        return train.main(["predict", "-c", str(file), *run, *flags])


def predict_config(checkpoint: Path, paths: Sequence[Path], trust: bool = False) -> dict[str, Any]:
    """Return the configuration that a checkpoint was trained with, turned to predicting on `paths`.

    Args:
        checkpoint: the file.
        paths: images and folders of images.
        trust: whether it may name classes outside this package.

    Raises:
        FileNotFoundError: there is no such checkpoint.
        ValueError: the file was not written by `vertebra fit`, or names what is not trusted.
    """
    from vertebra.tools.checkpoint_config import check_names, read_config
    from vertebra.tools.checkpoint_file import read_checkpoint

    if not checkpoint.exists():
        raise FileNotFoundError(f"{checkpoint} does not exist; give a checkpoint that `vertebra fit` wrote.")
    content = read_checkpoint(checkpoint)
    try:
        config = read_config(content.get("config"))
        if not trust:
            check_names(config)
    except ValueError as error:
        raise ValueError(f"{checkpoint}: {error}") from error
    arguments = config["data"]["init_args"]
    arguments["predict"] = [str(path) for path in paths]
    arguments["class_names"] = content["class_names"]
    return config


if __name__ == "__main__":
    sys.exit(main())
