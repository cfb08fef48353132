import copy

import pytest
import torch

from vertebra.tasks.classification import ClassificationModule, ImageClassifier
from vertebra.tasks.detection import DetectionModule, faster_rcnn
from vertebra.tasks.training.distillation.agreement import label_order
from vertebra.tasks.training.distillation.teacher import Teacher
from vertebra.tasks.training.parameter_groups import parameter_groups

NAMES = ["a", "b", "c"]


def module(names=NAMES, **options):
    return ClassificationModule(ImageClassifier("resnet20", num_classes=len(names)), names, **options)


@pytest.fixture
def pair():
    torch.manual_seed(0)
    student, teacher = module(), module()
    for norm in (part for part in teacher.network.modules() if isinstance(part, torch.nn.BatchNorm2d)):
        norm.running_mean.uniform_(-0.5, 0.5)
    student.learn_from(teacher, "runs/teacher")
    return student, teacher


def test_a_teacher_is_no_part_of_the_module(pair):
    student, teacher = pair
    plain = module()
    assert student.state_dict().keys() == plain.state_dict().keys()
    assert len(list(student.parameters())) == len(list(plain.parameters()))
    weights = {id(weight) for weight in student.teacher.network.parameters()}
    assert not weights & {id(x) for group in parameter_groups(student.network) for x in group["params"]}
    student.train()
    assert not any(part.training for part in student.teacher.network.modules())
    assert copy.deepcopy(student).teacher is student.teacher  # as an average of the weights is made
    assert all(weight.requires_grad for weight in teacher.parameters())  # which is left as it was


def test_its_logits_are_those_of_the_run_and_have_no_gradient(pair):
    student, teacher = pair
    images = torch.randn(2, 3, 32, 32)
    before = copy.deepcopy(student.teacher.network.state_dict())
    logits = student.train().teacher.logits(images)
    assert not logits.requires_grad
    torch.testing.assert_close(logits, teacher.eval().network(images), atol=1e-5, rtol=1e-4)
    for key, value in student.teacher.network.state_dict().items():
        assert torch.equal(value, before[key])
    assert student.teacher.logits(images.double()).dtype == torch.double  # of the student's precision


def test_classes_are_matched_by_name():
    torch.manual_seed(0)
    student, teacher = module(), module(["c", "a", "b"])
    student.learn_from(teacher, "runs/teacher")
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(
        student.teacher.logits(images), teacher.eval().network(images)[:, [1, 2, 0]], atol=1e-5, rtol=1e-4
    )
    assert label_order(NAMES, NAMES, "x") is None


def test_a_teacher_that_does_not_fit_is_refused():
    student = module()
    with pytest.raises(ValueError, match="x: the teacher lacks c and has d besides, but"):
        student.learn_from(module(["a", "b", "d"]), "x")
    with pytest.raises(ValueError, match=r"mean \[0.5, 0.5, 0.5\], and the student's with \[0.485.*--model.mean"):
        student.learn_from(module(mean=[0.5, 0.5, 0.5]), "x")
    detector = DetectionModule(faster_rcnn("timm:test_resnet", 3, channels=8), NAMES)
    with pytest.raises(ValueError, match="a DetectionModule and the student a ClassificationModule"):
        student.learn_from(detector, "x")
    assert student.teacher is None


def test_a_student_learns_what_the_teacher_knows_without_labels(pair, tmp_path):
    student, _ = pair
    images = torch.randn(8, 3, 32, 32)
    goal = student.teacher.logits(images)
    optimizer = torch.optim.Adam(student.network.parameters(), lr=0.01)
    losses = []
    for _ in range(15):
        loss = student.distillation(student.network(images), student.teacher.logits(images))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
    assert isinstance(student.teacher, Teacher)
    assert torch.equal(goal, student.teacher.logits(images))
