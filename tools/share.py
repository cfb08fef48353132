"""`vertebra share RUN FOLDER`: a trained model for others, with its configuration, metrics and a model card."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from vertebra.tools.arguments.early_checks import check_run

_DESCRIPTION = """\
Write a trained model for others to a folder: model.safetensors (weights without the training state), config.json,
preprocessor_config.json, metrics.json, training.json and README.md (model card: data, recipe, results, limits). No path
of this machine is in it. `vertebra.load(FOLDER)` and `vertebra predict FOLDER PATH...` read it, wherever it is moved.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Write a shared folder, and upload it if asked to."""
    parser = argparse.ArgumentParser(
        prog="vertebra share", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder such as runs/NAME, or a checkpoint")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="new folder to write")
    parser.add_argument("--name", help="name of the model in its card (default: name of FOLDER)")
    parser.add_argument(
        "--push", metavar="REPO", help="also upload to the Hugging Face Hub as a private model, such as USER/NAME"
    )
    parser.add_argument("--trust", action="store_true", help="allow classes outside this package in the configuration")
    args = parser.parse_args(sys.argv[1:] if argv is None else argv)
    try:
        check_run(args.run)
        if args.push:  # before anything is written
            _hub()
        from vertebra.tools.sharing.sharing import share
        from vertebra.tools.trained.checkpoint_file import read_checkpoint  # these import torch, which takes seconds
        from vertebra.tools.trained.run import load

        run = load(args.run, device="cpu", trust=args.trust)
        files = share(run, read_checkpoint(run.path), args.folder, args.name or args.folder.resolve().name, args.trust)
        size = sum(file.stat().st_size for file in files) / 1e6
        print(f"{args.folder}: {', '.join(file.name for file in files)} ({size:.1f} MB)")
        if args.push:
            print(f"uploaded to {_push(args.folder, args.push)}")
    except (ValueError, FileNotFoundError) as error:
        print(f"vertebra: {error}", file=sys.stderr)
        return 1
    return 0


def _hub() -> type:
    """Return the client of the Hugging Face Hub.

    Raises:
        ValueError: it is not installed.
    """
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise ValueError(
            "--push needs huggingface_hub, which is not installed; install it with `pip install huggingface_hub`, or "
            "leave --push out and upload the folder yourself."
        ) from error
    return HfApi


def _push(folder: Path, repo: str) -> str:
    """Upload a folder to a model repository, created as private if it does not exist, and return its address."""
    api = _hub()()
    try:
        address = api.create_repo(repo, private=True, exist_ok=True)
        api.upload_folder(repo_id=repo, folder_path=str(folder))
    except Exception as error:  # whatever the client raises of network, login or name
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"{repo}: the upload failed ({type(error).__name__}: {reason[:200]}); {folder} is complete. Log in with "
            f"`hf auth login`, and upload it with `hf upload {repo} {folder}`."
        ) from error
    return str(address)


if __name__ == "__main__":
    sys.exit(main())
