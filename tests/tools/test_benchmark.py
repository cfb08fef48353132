import re

from tools.benchmark import main


def test_ours_and_torchvisions_are_timed_side_by_side(capsys):
    assert main(["detection", "--backbone", "resnet18", "--size", "64", "64", "--batch", "1", "--rounds", "1"]) == 0
    rows = [
        line.split(" | ") for line in capsys.readouterr().out.splitlines() if re.match(r"\| (ours|torchvision)", line)
    ]
    assert len(rows) == 4
    assert all(float(row[1]) > 0 for row in rows)
    assert rows[0][3].startswith("1.00 ")
