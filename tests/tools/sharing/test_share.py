"""`vertebra share`: a folder that others load, from any path, with equal predictions."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from safetensors.torch import load_file

import vertebra
from vertebra.tasks.classification import image_classifier
from vertebra.tools import predict, share, train

pytestmark = pytest.mark.usefixtures("undrawn")

ROOT = Path(__file__).parents[3]
TASKS = ("classification", "detection", "medical")
SLOW = [pytest.param(task, marks=pytest.mark.slow) for task in ("segmentation", "video")]

RELOAD = """
import sys, torch, vertebra
run = vertebra.load(sys.argv[1])
(one, *_) = run.predict(sys.argv[2])
torch.save({key: value for key, value in vars(one).items() if isinstance(value, torch.Tensor)}, sys.argv[3])
"""


def tensors(prediction):
    return {key: value for key, value in vars(prediction).items() if isinstance(value, torch.Tensor)}


@pytest.mark.parametrize("task", [*TASKS, *SLOW])
def test_a_moved_folder_predicts_the_same_in_another_process(task, trained, tmp_path):
    run, files = trained(task)
    assert share.main([str(run), str(tmp_path / "shared")]) == 0
    moved = (tmp_path / "shared").rename(tmp_path / "elsewhere")
    file = next(path for path in sorted(files.rglob("*.*")) if path.is_file())
    expected = tensors(vertebra.load(run).predict(file)[0])
    if task == "classification":  # one of them only: a process takes seconds to start
        args = [str(moved), str(file), str(tmp_path / "found.pt")]
        command = [sys.executable, "-W", "ignore", "-c", RELOAD, *args]
        subprocess.run(command, check=True, cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"})
        found = torch.load(tmp_path / "found.pt")
    else:
        found = tensors(vertebra.load(moved).predict(file)[0])
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert torch.equal(found[name], value), name
    loaded = vertebra.load(moved)
    assert loaded.metrics.items() >= vertebra.load(run).metrics.items()
    assert loaded.preprocessing == vertebra.load(run).preprocessing
    assert loaded.class_names == vertebra.load(run).class_names


@pytest.mark.parametrize(("task", "names"), [("detection", ["map", "map50"]), ("segmentation", ["miou"])])
def test_the_card_of_a_detector_or_segmenter_has_intervals_over_images(task, names, trained, tmp_path):
    run, _ = trained(task)
    assert share.main([str(run), str(tmp_path / "shared")]) == 0
    metrics = json.loads((tmp_path / "shared/metrics.json").read_text())
    card = (tmp_path / "shared/README.md").read_text()
    for name in names:
        low, high = map(float, metrics[f"val/{name}"]["interval"].split(" to "))
        assert low - 1e-3 <= metrics[f"val/{name}"]["value"] <= high + 1e-3
        assert f"| {metrics[f'val/{name}']['interval']} |" in card


def test_a_folder_has_weights_card_and_metrics_with_intervals_and_no_path_of_the_machine(trained, tmp_path, capsys):
    run, files = trained("classification")
    folder = tmp_path / "textures"
    assert share.main([str(run), str(folder), "--name", "textures of ten kinds"]) == 0
    names = {file.name for file in folder.iterdir()}
    assert names == {
        "README.md",
        "config.json",
        "metrics.json",
        "model.safetensors",
        "preprocessor_config.json",
        "training.json",
    }
    assert len({(folder / name).stat().st_mode for name in names}) == 1  # of any new file, and not for its owner only
    assert (folder / "model.safetensors").stat().st_size < (run / "checkpoints/best.ckpt").stat().st_size / 1.5
    text = "".join((folder / name).read_text() for name in names - {"model.safetensors"})
    for private in (str(run.parent), str(files.parent), "default_root_dir"):
        assert private not in text
    card = (folder / "README.md").read_text()
    metadata = yaml.safe_load(card.split("---")[1])
    assert metadata["pipeline_tag"] == "image-classification"
    for word in (
        "# textures of ten kinds",
        "## Data",
        "## Recipe",
        "## Results",
        "## Limits",
        "torch.optim.SGD",
        "wood",
    ):
        assert word in card
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["val/top1"]["interval"] is None
    (accuracy,) = (value for name, value in metrics.items() if name.startswith("val/accuracy"))
    assert accuracy["value"] == pytest.approx(metrics["val/top1"]["value"])
    assert " to " in accuracy["interval"] or "–" in accuracy["interval"]
    # the weights have the names of the network, and load without a run
    network = image_classifier("resnet20", 10)
    network.load_state_dict(load_file(folder / "model.safetensors"))


def test_the_commands_take_a_shared_folder(trained, tmp_path):
    run, files = trained("classification")
    assert share.main([str(run), str(tmp_path / "shared")]) == 0
    flags = ["--data.num_workers", "0"]
    for name, model in (("a", run), ("b", tmp_path / "shared")):
        assert predict.main([str(model), str(files), "--output", str(tmp_path / name), *flags]) == 0
    assert (tmp_path / "a/predictions.csv").read_text() == (tmp_path / "b/predictions.csv").read_text()
    config = ["-c", str(run / "config.yaml"), "--trainer.default_root_dir", str(tmp_path / "measured")]
    assert train.main(["validate", *config, "--ckpt_path", str(tmp_path / "shared")]) == 0
    measured = [json.loads((folder / "metrics_val.json").read_text()) for folder in (run, tmp_path / "measured")]
    assert measured[0] == pytest.approx(measured[1])


def test_a_folder_in_use_is_refused(trained, tmp_path, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    assert share.main([str(trained("classification")[0]), str(tmp_path / "full")]) == 1
    assert "full exists and is not empty; give a new folder" in capsys.readouterr().err


def test_damaged_and_malicious_folders_are_refused(trained, tmp_path):
    whole = tmp_path / "shared"
    assert share.main([str(trained("classification")[0]), str(whole)]) == 0
    entries = json.loads((whole / "config.json").read_text())

    def with_config(text: str) -> Path:
        shutil.rmtree(tmp_path / "bad", ignore_errors=True)
        shutil.copytree(whole, tmp_path / "bad")
        (tmp_path / "bad" / "config.json").write_text(text)
        return tmp_path / "bad"

    evil = json.dumps(entries).replace("vertebra.tasks.classification.ImageClassifier", "os.system")
    for text, message in [
        ("{", "is not valid JSON"),
        ("[]", "its format is 'list'"),
        ("{}", "its format is 'None'"),
        (json.dumps({**entries, "class_names": ["a"]}), "class_names|missing|model"),
        (json.dumps({**entries, "class_names": 3}), "class_names"),
        (evil, r"'os\.system' as model\.init_args\.network\.class_path"),
    ]:
        with pytest.raises(ValueError, match=message):
            vertebra.load(with_config(text))
    bad = with_config(json.dumps(entries))
    (bad / "model.safetensors").write_bytes((whole / "model.safetensors").read_bytes()[:1000])
    with pytest.raises(ValueError, match="cannot be read as safetensors"):
        vertebra.load(bad)


def test_push_creates_a_private_repository_and_uploads_the_folder(trained, tmp_path, monkeypatch, capsys):
    calls = []

    class Api:
        def create_repo(self, repo, private, exist_ok):
            calls.append(("create", repo, private, exist_ok))
            return f"https://huggingface.co/{repo}"

        def upload_folder(self, repo_id, folder_path):
            calls.append(("upload", repo_id, sorted(file.name for file in Path(folder_path).iterdir())[0]))

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(HfApi=Api))
    run = str(trained("classification")[0])
    assert share.main([run, str(tmp_path / "a"), "--push", "me/textures"]) == 0
    assert calls == [("create", "me/textures", True, True), ("upload", "me/textures", "README.md")]
    assert "uploaded to https://huggingface.co/me/textures" in capsys.readouterr().out
    monkeypatch.setattr(Api, "upload_folder", lambda self, **options: 1 / 0)
    assert share.main([run, str(tmp_path / "b"), "--push", "me/textures"]) == 1
    assert "the upload failed (ZeroDivisionError: division by zero)" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert share.main([run, str(tmp_path / "c"), "--push", "me/textures"]) == 1
    assert "--push needs huggingface_hub, which is not installed" in capsys.readouterr().err
    assert not (tmp_path / "c").exists()
