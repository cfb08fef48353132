"""Packaging: the package `vertebra` with the run recipes of `configs/`, and the console script `vertebra`."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
# parsed instead of imported, since no dependency is installed yet
(VERSION,) = re.findall(r'__version__ = "(.+)"', (HERE / "vertebra" / "__init__.py").read_text(encoding="utf-8"))

REQUIRED = [
    "torch>=2.11",  # the oldest release tested
    "torchvision>=0.26",  # the release for torch 2.11
    "timm>=1.0.15",  # current names of feature extractors with `feature_info`
    "lightning>=2.6,!=2.6.2,!=2.6.3",  # EMAWeightAveraging, weights_only; 2.6.2 and 2.6.3 were malicious uploads
    "jsonargparse[signatures]>=4.39",  # functions as `class_path`; the extra that LightningCLI needs
    "torchmetrics>=1.4",
    "pycocotools>=2.0.8",  # first wheels for numpy 2
    "albumentations>=2.0",  # current transform signatures
    "opencv-python-headless>=4.9",  # the build that albumentations requires; imports without a display
    "scipy>=1.10",  # Hungarian matching; the oldest release for Python 3.11
    "av>=13.0",  # video decoding; first release with the rotation of a frame
    "monai>=1.5",  # transforms of scans; first release for numpy 2
    "nibabel>=5.0",  # NIfTI
    "pydicom>=3.0",  # DICOM; one interface for all compressed transfer syntaxes
    "pillow>=10.1",
    "safetensors>=0.4",
    "matplotlib>=3.8",  # report charts
    "jinja2>=3.1",  # report template
    "rich>=13.0",
    "tqdm>=4.57",  # progress of predictions in terminals and notebooks
    "tensorboard>=2.14",
]

# reference implementations of the parity tests
REFERENCES = ["pytorchvideo>=0.1.5", "segmentation-models-pytorch>=0.5", "scikit-learn>=1.7"]

# what `vertebra export` to ONNX needs
EXPORT = ["onnx>=1.16", "onnxscript>=0.2", "onnxruntime>=1.18"]

# the graph of layers that `vertebra prune` must prune together
PRUNE = ["torch-pruning>=1.6"]

# solvers of ODE-Nets beyond Euler's
ODE = ["torchdiffeq>=0.2.4"]

EXTRAS = {
    "dev": [
        "pytest>=8.0",
        "pytest-xdist>=3.5",
        "filelock>=3.12",
        "ruff>=0.6",
        "mypy>=1.10",
        "types-PyYAML",
        "h5py>=3.8",
        *REFERENCES,
        *EXPORT,
        *PRUNE,
        *ODE,
    ],
    "notebooks": ["nbclient>=0.10", "nbformat>=5.10", "ipykernel>=6.29", "pandas>=2.2"],
    "trackers": ["wandb>=0.17", "mlflow-skinny>=2.14"],
    "keras": ["h5py>=3.8"],  # weight files of Keras
    "export": EXPORT,
    "prune": PRUNE,
    "ode": ODE,
}

setup(
    name="vertebra",
    version=VERSION,
    description="ResNet backbones with feature pyramids for detection, segmentation, video and medical imaging",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["vertebra", "vertebra.*"]),  # `vertebra/` links to the top-level folders
    package_data={"vertebra": ["py.typed", "configs/*/*.yaml"], "vertebra.tasks.reporting": ["*.html"]},
    install_requires=REQUIRED,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["vertebra = vertebra.tools.main:main"]},
)
