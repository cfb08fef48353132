"""Installs the package `vertebra`, with the run recipes of `configs/`, and the command of the same name."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
# read and not imported: nothing is installed yet
(VERSION,) = re.findall(r'__version__ = "(.+)"', (HERE / "vertebra" / "__init__.py").read_text(encoding="utf-8"))

REQUIRED = [
    "torch>=2.11",  # the oldest release the test suite runs on
    "torchvision>=0.26",  # the release that belongs to torch 2.11
    "timm>=1.0.15",  # feature networks with `feature_info` under today's names
    "lightning>=2.6,!=2.6.2,!=2.6.3",  # EMA callback, weights_only; the two excluded releases were malicious
    "jsonargparse[signatures]>=4.39",  # functions as `class_path`, which LightningCLI leaves optional
    "torchmetrics>=1.4",
    "pycocotools>=2.0.8",  # the first wheels for numpy 2
    "albumentations>=2.0",  # today's transform signatures
    "opencv-python-headless>=4.9",  # the build albumentations asks for; it imports without a display
    "av>=13.0",  # reads videos; frames tell their rotation from here on
    "monai>=1.5",  # augments scans; the first that lets numpy 2 in
    "nibabel>=5.0",  # reads NIfTI
    "pydicom>=3.0",  # reads DICOM; compressed pixels under one interface
    "pillow>=10.1",
    "safetensors>=0.4",
    "matplotlib>=3.8",  # charts of the report
    "jinja2>=3.1",  # page of the report
    "rich>=13.0",
    "tensorboard>=2.14",
]

# what the tests compare with
ORACLES = ["pytorchvideo>=0.1.5", "segmentation-models-pytorch>=0.5", "scikit-learn>=1.7"]

EXTRAS = {
    "dev": ["pytest>=8.0", "pytest-xdist>=3.5", "filelock>=3.12", "ruff>=0.6", "mypy>=1.10", "types-PyYAML", *ORACLES],
    "export": ["onnx>=1.16", "onnxscript>=0.2", "onnxruntime>=1.18"],
}

setup(
    name="vertebra",
    version=VERSION,
    description="ResNet backbones with feature pyramids for detection, segmentation, video and medical imaging",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["vertebra", "vertebra.*"]),  # follows the links to the folders beside it
    package_data={"vertebra": ["py.typed", "configs/*/*.yaml"], "vertebra.tasks.reporting": ["*.html"]},
    install_requires=REQUIRED,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["vertebra = vertebra.tools.main:main"]},
)
