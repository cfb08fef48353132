"""Checkpoints, among them invalid and malicious ones."""

import io
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch

from vertebra.tasks.classification import ClassificationModule, image_classifier
from vertebra.tools.samples import classification as samples

RUN = """
model:
  class_path: vertebra.tasks.classification.ClassificationModule
  init_args:
    network:
      class_path: vertebra.tasks.classification.ImageClassifier
      init_args: {backbone: resnet20}
data:
  class_path: vertebra.tasks.classification.ClassificationData
  init_args:
    root: ROOT
    resize: {size: [24, 24], crop: 1.0}
    batch_size: 10
    num_workers: 0
trainer:
  accelerator: cpu
  precision: 32-true
  max_epochs: 1
  enable_progress_bar: false
  enable_model_summary: false
  logger: false
"""


class Trap:
    """Calls a function when it is unpickled."""

    def __init__(self, call, *args):
        self.call = call, args

    def __reduce__(self):
        return self.call


def content(classes=samples.CLASSES, **more):
    """Return the content of a checkpoint of RUN before its first step."""
    module = ClassificationModule(image_classifier("resnet20", len(classes)), classes)
    return {
        "epoch": 0,
        "global_step": 0,
        "pytorch-lightning_version": "2.6.0",
        "state_dict": module.state_dict(),
        "callbacks": {},
        "optimizer_states": [{"state": {}, "param_groups": []}],
        "lr_schedulers": [{}],
        "class_names": list(classes),
        "config": RUN,
    } | more


def full(**more):
    """Return the content of a checkpoint with all entries that resuming requires."""
    return content(loops={}, **more)


def legacy(value) -> bytes:
    torch.save(value, out := io.BytesIO(), _use_new_zipfile_serialization=False)
    return out.getvalue()


def saved(value) -> bytes:
    torch.save(value, out := io.BytesIO())
    return out.getvalue()


def without(*keys):
    return {key: value for key, value in full().items() if key not in keys}


def renamed_global(data: bytes, module: bytes) -> bytes:
    """Return a checkpoint whose pickle names a function of another module to rebuild its tensors."""
    source, out = zipfile.ZipFile(io.BytesIO(data)), io.BytesIO()
    with zipfile.ZipFile(out, "w") as target:
        for name in source.namelist():
            target.writestr(name, source.read(name).replace(b"ctorch._utils\n", b"c" + module + b"\n"))
    return out.getvalue()


def broken(folder: Path) -> dict[str, Path]:
    """Write invalid and malicious checkpoints; any code they execute creates `sprung` in the folder."""
    sprung = str(folder / "sprung")
    touch = f"touch {sprung}"
    whole = saved(full())
    state = full()["state_dict"]
    first = next(iter(state))
    files = {
        "system": pickle.dumps(Trap(os.system, touch)),
        "system_in_zip": saved(full(more=Trap(os.system, touch))),
        "open": saved(Trap(open, sprung, "w")),
        "eval": pickle.dumps(Trap(eval, f"open({sprung!r}, 'w')")),
        "getattr": saved({"state_dict": Trap(getattr, "a", "upper"), "class_names": ["a"]}),
        "legacy_system": legacy(full(more=Trap(os.system, touch))),
        "whole_module": saved(image_classifier("resnet20", 2)),
        "other_global": renamed_global(whole, b"posix"),
        "empty": b"",
        "zero_bytes": bytes(4096),
        "text": b"not a checkpoint\n",
        "html": b"<!DOCTYPE html><html>404</html>" * 50,
        "cut": whole[: len(whole) // 2],
        "cut_at_the_end": whole[:-200],
        "cut_legacy": legacy(full())[:5000],
        "flipped": whole[:2000] + bytes(64) + whole[2064:],
        "one_bit": whole[: len(whole) // 2] + bytes([whole[len(whole) // 2] ^ 1]) + whole[len(whole) // 2 + 1 :],
        "zip_of_nothing": b"PK\x05\x06" + bytes(18),
        "a_number": saved(3),
        "a_list": saved([1, 2]),
        "a_tensor": saved(torch.ones(3)),
        "weights_alone": saved(state),
        "no_state": saved(without("state_dict")),
        "no_classes": saved(without("class_names")),
        "classes_of_numbers": saved(full(class_names=[1, 2])),
        "no_version": saved(without("pytorch-lightning_version")),
        "odd_version": saved(full(**{"pytorch-lightning_version": "new"})),
        "numbers_for_tensors": saved(full(state_dict=dict.fromkeys(state, 3))),
        "state_is_a_list": saved(full(state_dict=list(state.values()))),
        "keys_are_numbers": saved(full(state_dict=dict(enumerate(state.values())))),
        "claims_more": saved(full(state_dict=state | {first: torch.ones(1).expand(10**6, 10**6)})),
        "sparse": saved(full(state_dict=state | {first: torch.ones(3, 3).to_sparse()})),
        "no_values": saved(full(state_dict={key: value.to("meta") for key, value in state.items()})),
        "epoch_is_text": saved(full(epoch="first")),
    }
    nested: list = ["a"]
    for _ in range(60):
        nested = [nested] * 9  # 9 ** 60 strings in a few bytes
    files |= {
        "endless_classes": saved(full(class_names=nested)),
        "endless_key": saved(full(state_dict={(1, 2): torch.ones(1)})),
        "lines_for_a_key": saved(full(state_dict={"a\nb": torch.ones(1)})),
    }
    paths = {}
    for name, data in files.items():
        paths[name] = folder / f"{name}.ckpt"
        paths[name].write_bytes(data)
    paths["folder"] = folder / "folder.ckpt"
    paths["folder"].mkdir()
    paths["absent"] = folder / "absent.ckpt"
    return paths


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    return broken(tmp_path_factory.mktemp("broken"))


@pytest.fixture(name="content")
def content_function():
    """Function that returns the content of a checkpoint before its first step, with more entries."""
    return content
