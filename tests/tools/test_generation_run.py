"""End-to-end tests of generators: training, measurement by a judge, resumption, divergence, collapse."""

import csv
import os
import signal
from pathlib import Path

import pytest
import torch
from PIL import Image

import vertebra
from vertebra.tasks.generation import GenerationModule, module
from vertebra.tools import demo, main, predict, prune, share, train
from vertebra.tools.samples import generation as samples
from vertebra.tools.trained.generating import write_generated

TINY = ["--data.num_workers", "0", "--trainer.enable_progress_bar", "false", "--trainer.accelerator", "cpu"]
TINY += ["--trainer.precision", "32-true"]
SMALL = ["--model.network.generator_width", "8", "--model.network.discriminator_width", "8", "--data.batch_size", "8"]
SMALL += ["--trainer.max_epochs", "2", "--trainer.max_steps", "-1", *TINY]


def fit(run: Path, root: Path, *flags: str) -> int:
    folders = ["--data.root", str(root), "--trainer.default_root_dir", str(run)]
    return train.main(["fit", "-c", "generation/scratch.yaml", *folders, *SMALL, *flags])


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory, classification_samples: Path) -> Path:
    run = tmp_path_factory.mktemp("judge") / "run"
    folders = ["--data.root", str(classification_samples), "--trainer.default_root_dir", str(run)]
    assert train.main(["fit", "-c", "classification/demo.yaml", *folders, *TINY, "--trainer.max_epochs", "1"]) == 0
    return run


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, classification_samples: Path, judge: Path) -> Path:
    run = tmp_path_factory.mktemp("trained") / "run"
    assert fit(run, classification_samples, "--model.judge", str(judge)) == 0
    return run


def test_a_run_is_measured_by_its_judge_and_writes_a_report(trained, judge):
    rows = list(csv.DictReader((trained / "logs/version_0/metrics.csv").open()))
    expected = {"train/loss_discriminator", "train/loss_generator", "val/frechet", "val/precision", "val/recall"}
    assert expected | {"val/spread", "val/class_accuracy"} <= set(rows[0])
    report = (trained / "report.html").read_text()
    for word in (f"Fréchet distance on features of {judge}", "classified as asked", "Interpolation", "is not the FID"):
        assert word in report


def test_a_checkpoint_counts_steps_of_the_generator_and_has_the_averaged_weights(trained):
    content = torch.load(trained / "checkpoints/last.ckpt", weights_only=True)
    assert content["global_step"] == 6  # 20 images in batches of 8, twice
    assert len(content["optimizer_states"]) == 2
    averaged, current = content["state_dict"], content["current_model_state"]
    name = "network.generator.blocks.0.conv1.weight"
    assert not torch.equal(averaged[name], current[name])
    assert not any("judge" in key for key in averaged)


@pytest.mark.slow
def test_validation_repeats_the_measurement(trained, classification_samples, capsys):
    before = (trained / "metrics_val.json").read_text()
    assert main.main(["validate", str(trained)]) == 0
    assert (trained / "metrics_val.json").read_text() == before


@pytest.mark.slow
def test_an_interrupted_run_resumes_bit_by_bit(tmp_path, classification_samples, monkeypatch):
    assert fit(tmp_path / "whole", classification_samples) == 0
    step = GenerationModule.training_step

    def interrupted(self, batch, batch_idx):
        if (self.current_epoch, batch_idx) == (0, 1):
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(GenerationModule, "training_step", interrupted)
        assert fit(tmp_path / "parts", classification_samples) == 130
    assert fit(tmp_path / "parts", classification_samples, "--ckpt_path", "last") == 0
    whole, parts = (
        torch.load(tmp_path / name / "checkpoints/last.ckpt", weights_only=True) for name in ("whole", "parts")
    )
    for key in ("state_dict", "current_model_state"):
        assert whole[key].keys() == parts[key].keys()
        for name, tensor in whole[key].items():
            assert torch.equal(tensor, parts[key][name]), name


@pytest.mark.parametrize("loss", ["discriminator", "generator"])
def test_a_loss_that_is_not_finite_ends_the_run_with_one_sentence(
    loss, tmp_path, classification_samples, monkeypatch, capsys
):
    function = getattr(module, f"{loss}_loss")
    monkeypatch.setattr(module, f"{loss}_loss", lambda *scores: function(*scores) * float("nan"))
    assert fit(tmp_path / "run", classification_samples) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert f"train/loss_{loss} is nan, the first non-finite value" in error
    assert "on_divergence" not in error
    assert not (tmp_path / "run/checkpoints/best.ckpt").exists()


def test_mode_collapse_is_named_while_training(tmp_path, classification_samples, monkeypatch):
    sample = GenerationModule.sample

    def collapsed(self, noise, labels, names):
        return sample(self, noise, labels, names)[:1].expand(len(labels), -1, -1, -1)

    monkeypatch.setattr(GenerationModule, "sample", collapsed)
    with pytest.warns(UserWarning, match=r"epoch 2: mode collapse: the 8 x 8 pixels of generated images spread over"):
        assert fit(tmp_path / "run", classification_samples) == 0


def test_generated_images_are_a_data_set_and_depend_on_seed_class_and_number(trained, tmp_path, capsys):
    def generate(name: str, *flags: str) -> Path:
        assert main.main(["generate", str(trained), "--output", str(tmp_path / name), *flags]) == 0
        return tmp_path / name

    first, *others = vertebra.load(trained).class_names
    folder = generate("all", "--count", "3")
    assert f"{3 * (1 + len(others))} images" in capsys.readouterr().out
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == sorted([first, *others])
    with Image.open(folder / "samples.png") as samples:
        assert samples.size == (3 * 32, (1 + len(others)) * 32)
    one = generate("one", "--count", "1", "--classes", others[0])
    assert [path.name for path in one.iterdir() if path.is_dir()] == [others[0]]
    picture = f"{others[0]}/000000.png"
    assert (one / picture).read_bytes() == (folder / picture).read_bytes()
    other_seed = generate("seed", "--count", "1", "--classes", others[0], "--seed", "1")
    assert (other_seed / picture).read_bytes() != (folder / picture).read_bytes()


def test_what_cannot_be_generated_is_one_sentence(trained, judge, capsys):
    assert main.main(["generate", str(trained), "--classes", "unicorn"]) == 1
    assert "--classes has 'unicorn'; this generator has" in capsys.readouterr().err
    assert main.main(["generate", str(judge)]) == 1
    assert "is of classification, and generates nothing" in capsys.readouterr().err
    assert main.main(["generate", str(trained), "--count", "0"]) == 1
    assert "--count is 0" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["../outside", "/outside", "..", "a\\b"])
def test_a_class_that_is_a_path_writes_nothing(name, trained, tmp_path):
    run = vertebra.load(trained)
    run.class_names = (name, *run.class_names[1:])
    with pytest.raises(ValueError, match=r"cannot be the name of a folder; leave it out with --classes"):
        write_generated(run, tmp_path / "made", 1)
    assert not list(tmp_path.iterdir())


def test_what_a_generator_cannot_do_is_one_sentence(trained, classification_samples, tmp_path, capsys):
    image = next(classification_samples.rglob("*.png"))
    assert predict.main([str(trained), str(image), "--output", str(tmp_path / "out")]) == 1
    assert "makes images from noise" in capsys.readouterr().err
    assert prune.main([str(trained), "--speedup", "2"]) == 1
    assert "has no single loss to follow" in capsys.readouterr().err
    assert fit(tmp_path / "large", classification_samples, "--data.resize.size", "[40, 40]") == 1
    assert "the images are (3, 40, 40), and the network is for (3, 32, 32)" in capsys.readouterr().err


def test_a_shared_generator_loads_and_its_card_says_how_to_use_it(trained, tmp_path):
    assert share.main([str(trained), str(tmp_path / "shared")]) == 0
    assert "run.network(noise, labels)" in (tmp_path / "shared/README.md").read_text()
    run = vertebra.load(tmp_path / "shared")
    images = run.network(torch.randn(2, run.network.noise_dim), torch.tensor([0, 9]))
    assert images.shape == (2, 3, 32, 32)
    assert images.abs().max() <= 1


@pytest.mark.slow
def test_the_demo_trains_its_judge_first(tmp_path, monkeypatch, capsys):
    write = samples.write_generation_samples
    monkeypatch.setattr(samples, "write_generation_samples", lambda root: write(root, train=24, val=12))
    monkeypatch.chdir(tmp_path)
    assert demo.main(["generation", *SMALL, "--trainer.check_val_every_n_epoch", "1"]) == 0
    assert "classified as asked" in Path("runs/demo_generation/report.html").read_text()
    assert "top-1" in Path("runs/demo_generation/judge/report.html").read_text()
