"""Names of the metrics in the report of a medical classifier."""

import pytest
import torch

from vertebra.tasks.medical.metrics import MedicalMetric
from vertebra.tasks.medical.report import medical_sections


@pytest.mark.parametrize(
    ("kind", "title"), [("classes", "F1, mean over classes"), ("grades", "F1, mean over classes"), ("findings", "F1")]
)
def test_a_report_says_what_its_f1_is_a_mean_of(kind, title):
    metric = MedicalMetric(["clear", "nodule"], kind)
    logits = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 1.0], [0.0, 3.0]])
    labels = (
        torch.tensor([[0.0, 1.0], [1.0, 1.0], [1.0, 0.0], [0.0, 1.0]]) if kind == "findings" else torch.arange(4) % 2
    )
    metric.update(logits, labels, torch.arange(4))
    results = metric.compute()
    (table, _) = medical_sections(results)[0].parts
    (row,) = [row for row in table.rows if row[0].startswith("F1")]
    assert row[:2] == (title, results.measured["f1"])
