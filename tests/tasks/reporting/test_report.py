import base64
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from vertebra.tasks.reporting.charts import Line, bar_chart, confusion_chart, line_chart
from vertebra.tasks.reporting.report import Picture, Section, columns, gallery, note, report_numbers, write_report
from vertebra.tasks.reporting.tables import Table, format_number
from vertebra.tasks.reporting.training_curves import _EpochClock, _read_logs, training_section

NASTY = '<script>"&$_{x}'


class Tags(HTMLParser):
    """Checks that tags close in the order they open."""

    def __init__(self, text):
        super().__init__()
        self.open = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def chart(name="loss", scale=1.0):
    x = np.arange(30.0)
    return line_chart([Line(name, x, scale * x, 0), Line("b", x[:3], x[:3] + 1, None)], "title", "step", "value")


def test_page_is_whole_and_needs_nothing_else(tmp_path):
    path = tmp_path / "new" / "report.html"
    sections = [Section(NASTY, columns(chart(), chart(scale=2)), note(NASTY)), Section("Empty", "")]
    write_report(path, NASTY, "sub & title", {"AP": 0.1234, "AP50": float("nan")}, sections)
    page = path.read_text("utf-8")
    Tags(page)
    assert "http" not in page
    assert "<script" not in page
    assert "<link" not in page
    assert page.count("&lt;script&gt;") == 5  # title, heading, link, section, note
    assert "<dd>0.123</dd>" in page
    assert "<dd>–</dd>" in page


def test_ids_of_charts_do_not_clash_and_refer_to_themselves():
    first, second = chart(), chart(scale=2)
    ids = [set(re.findall(r' id="([^"]+)"', text)) for text in (first, second)]
    assert ids[0]
    assert not ids[0] & ids[1]
    for text, own in zip((first, second), ids, strict=True):
        references = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", text))
        assert references
        assert references <= own
    assert chart() == first


def test_chart_takes_its_ink_from_the_page():
    text = chart()
    assert "currentColor" in text
    assert "var(--line)" in text
    assert not re.search("#0[1-6]0[2-6]0[3-6]|#000000|#ffffff", text)


@pytest.mark.parametrize("log_y", [False, True])
@pytest.mark.parametrize("height", [0.9, 1.2345, 123456])
def test_labels_of_charts_end_inside_the_figure(log_y, height, monkeypatch):
    drawn = []
    svg = '<svg viewBox="0 0 1 1"></svg>'
    monkeypatch.setattr(Figure, "savefig", lambda figure, file, **_: (drawn.append(figure), file.write(svg)))
    x = np.arange(40)
    line_chart([Line("a", x, 1e-4 + height * (1 - np.cos(x / 9)), 0)], "t", "epoch", "loss", log_y=log_y)
    box = drawn[0].axes[0].get_tightbbox()
    right, top = drawn[0].get_size_inches() * drawn[0].dpi
    assert min(box.x0, box.y0, right - box.x1, top - box.y1) > 0
    assert max(box.x0, box.y0, right - box.x1, top - box.y1) < 10


def test_names_in_charts_are_escaped():
    Tags(chart(NASTY))
    text = confusion_chart(np.array([[3, 1], [0, 2]]), [NASTY, "$b$"], [NASTY, "c" * 40])
    Tags(text)
    assert ">$b$<" in text
    assert "&lt;script&gt;" in text
    assert "c" * 18 not in text


def test_log_axis_writes_plain_numbers():
    x = np.arange(1.0, 30)
    text = line_chart([Line("a", x, 10.0 ** (-x / 10), 0)], "title", "step", "loss", log_y=True)
    assert ">0.01<" in text
    assert "math" not in text


def test_confusion_writes_counts_and_shares_while_they_fit():
    text = confusion_chart(np.array([[1500, 500], [0, 0]]), "ab", "ab")
    assert ">1,500<" in text
    assert ">75%<" in text
    assert ">0<" not in text
    many = confusion_chart(np.eye(81, dtype=int), [f"c{i}" for i in range(81)], [f"c{i}" for i in range(81)])
    assert "100%</text>" not in many
    assert ">c80<" in many


def test_table():
    text = Table("all", ["name", "n", "score"], [[NASTY, 1234, 0.5], ["b", 0, float("nan")]]).html()
    Tags(text)
    assert "<td>&lt;script&gt;" in text
    assert '<td class="number">1,234</td><td class="number">0.500</td>' in text
    assert '<td class="number">–</td>' in text
    assert '<th>name</th><th class="number">n</th>' in text
    Tags(Table("none", ["name"], []).html())


@pytest.mark.parametrize(
    ("value", "text"),
    [(7, "7"), (np.int64(70000), "70,000"), (0.12345, "0.123"), (1234.56, "1,234.6"), (np.float64("nan"), "–")],
)
def test_format_number(value, text):
    assert format_number(value) == text


def test_gallery_holds_the_pixels_and_does_without():
    image = np.full((20, 30, 3), (200, 30, 60), np.uint8)
    text = gallery([Picture(image, NASTY, "1 missed"), Picture(None, "gone.jpg", "")])
    Tags(text)
    assert text.count("<img") == 1
    assert "gone.jpg" in text
    data = base64.b64decode(re.findall(r'base64,([^"]+)"', text)[0])
    shown = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert shown.shape == image.shape
    assert np.abs(shown[10, 15].astype(int) - (200, 30, 60)).max() < 8


LOGGED = """epoch,lr-SGD,lr-SGD-momentum,step,train/acc,train/loss,train/loss_rpn_box,val/hd95,val/map,val/undefined
,0.01,0.9,0,,,,,,
0,,,9,0.5,2.5,0.5,,,
0,,,9,,,,12.5,0.25,nan
1,,,19,0.6,0.05,nan,,,
1,,,19,,,,8.5,0.5,nan
"""


def legends(section):
    return [re.findall("</i>([^<]+)", part) for part in section.html.split("<figure")[1:]]


def test_training_section_sorts_columns_into_charts(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text(LOGGED)
    section = training_section([path])
    Tags(section.html)
    titles = re.findall("<figcaption>([^<]+)", section.html)
    assert titles == ["Loss", "Validation", "Validation", "Learning rate"]
    assert legends(section) == [["training", "training: rpn box"], ["map"], ["hd95"], ["learning rate"]]


def test_training_section_thins_long_runs(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("step,train/loss\n" + "".join(f"{i},{1 + i % 2}\n" for i in range(20000)))
    assert len(training_section([path]).html) < 30000


def test_later_logs_replace_what_was_done_anew_and_evaluations_are_left_out(tmp_path):
    parts = {
        "cut": "step,train/loss,val/map\n10,4.0,\n20,3.0,\n30,2.0,\n",
        "taken_up": "lr-SGD,step,train/loss\n,20,2.5\n,40,1.5\n0.1,40,\n",
        "evaluation": "step,test/map,val/map\n0,0.5,0.5\n",
        "at_once": "lr-SGD,step,train/loss\n,10,4.0\n,20,2.5\n,40,1.5\n0.1,40,\n",
    }
    paths = {name: tmp_path / f"{name}.csv" for name in parts}
    for name, text in parts.items():
        paths[name].write_text(text)
    whole = training_section([paths["cut"], paths["taken_up"], paths["evaluation"]])
    assert whole.html == training_section([paths["at_once"]]).html
    assert whole.html != training_section([paths["cut"]]).html
    assert training_section([paths["evaluation"]]) is None
    assert training_section([]) is None


def test_training_section_without_values(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,step,train/loss\n0,1,\n")
    assert training_section([path]) is None


def test_invalid_metrics_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="CSV logger"):
        training_section([tmp_path / "metrics.csv"])
    path = tmp_path / "other.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="columns are a, b"):
        training_section([path])


def test_a_name_that_is_not_utf8_does_not_cost_the_report(tmp_path):
    name = b"caf\xe9.jpg".decode("utf-8", "surrogateescape")
    write_report(tmp_path / "report.html", name, "", {}, [])
    assert "caf\\udce9.jpg" in (tmp_path / "report.html").read_text(encoding="utf-8")


def x_labels(section):
    """The names of the x axes, and the numbers along them."""
    return [re.findall(r">([^<>]+)</text>", part) for part in section.html.split("<figure")[1:]]


def test_three_steps_of_one_epoch_make_curves_over_epochs(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,step,train/loss,val/map\n0,0,3,\n0,1,2,\n0,2,1,\n0,2,,0.5\n")
    section = training_section([path])
    loss, _ = x_labels(section)
    assert {"epoch", "loss", "0.4", "1.0"} <= set(loss)
    assert "step" not in loss


def test_epochs_are_counted_by_their_last_steps_and_one_that_was_cut_is_not_whole(tmp_path):
    path = tmp_path / "metrics.csv"
    rows = [f"{step // 10},{step},1," for step in range(24)] + ["0,9,,0.1", "1,19,,0.2"]
    path.write_text("\n".join(["epoch,step,train/loss,val/map", *rows]))
    clock = _EpochClock(_read_logs([path]))
    np.testing.assert_allclose(clock(np.array([-1.0, 4, 9, 19, 23])), [0, 0.5, 1, 2, 2.4])


def test_a_log_without_epochs_is_drawn_over_steps(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("step,train/loss\n0,3\n1,2\n")
    assert "step" in x_labels(training_section([path]))[0]


def test_learning_rates_of_layers_are_named_in_the_order_of_the_layers(tmp_path):
    path = tmp_path / "metrics.csv"
    names = [f"lr-SGD/pg{i}" for i in range(1, 13)]  # pg10 comes before pg2 by name
    rates = [0.1 * (i // 2) for i in range(12)]
    rows = [[step, *(rate / (step + 1) for rate in rates)] for step in range(3)]
    path.write_text("\n".join([",".join(["step", *names]), *(",".join(map(str, row)) for row in rows)]))
    expected = ["layers 1 of 6 (input)", *(f"layers {i} of 6" for i in range(2, 6)), "layers 6 of 6 (head)"]
    assert legends(training_section([path])) == [expected]


def test_axes_have_names():
    assert {"step", "value"} <= set(re.findall(r">([^<>]+)</text>", chart()))


def test_bars_are_named_and_have_a_legend():
    text = bar_chart([NASTY, "b"], {"train": [3, 2000], "val": [1, 0]}, "Labels", "number", "class")
    Tags(text)
    assert {"number", "class", "b", "2,000"} <= set(re.findall(r">([^<>]+)</text>", text))
    assert re.findall("</i>([^<]+)", text) == ["train", "val"]


def test_false_positives_are_fractions_of_the_predictions_of_their_class():
    matrix = np.array([[40, 0, 10], [0, 30, 0], [2, 10, 0]])
    text = confusion_chart(matrix, ["a", "b", "nothing"], ["a", "b", "missed"], background_row=True)
    written = set(re.findall(r">(\d+%)</text>", text))
    assert written == {"80%", "20%", "100%", "5%", "25%"}


def test_numbers_of_a_report_are_those_of_its_page(tmp_path):
    classes = Table("Classes", ["class", "n", "AP"], [["a", np.int64(3), np.float64(0.25)], ["b", 0, float("nan")]])
    sections = [Section("Classes", columns(classes, chart())), Section("Sizes", Table("Sizes", ["n"], [[7]]))]
    numbers = report_numbers({"AP": 0.5, "AP large": float("nan")}, sections)
    assert numbers == {
        "headline": {"AP": 0.5, "AP large": None},
        "Classes": [{"class": "a", "n": 3, "AP": 0.25}, {"class": "b", "n": 0, "AP": None}],
        "Sizes": [{"n": 7}],
    }
    json.dumps(numbers, allow_nan=False)


def test_a_table_in_a_terminal_is_aligned_and_cut():
    rows = [["disc", 12, 0.5], ["a long name", 3000, float("nan")], ["c", 1, 0.1]]
    assert Table("Classes", ["class", "objects", "AP"], rows).text(2).splitlines() == [
        "class        objects     AP",
        "disc              12  0.500",
        "a long name    3,000      –",
        "... and 1 more",
    ]


def test_identity_is_above_the_numbers(tmp_path):
    write_report(tmp_path / "r.html", "run", "", {"AP": 0.1}, [], {"network": NASTY})
    page = (tmp_path / "r.html").read_text("utf-8")
    Tags(page)
    assert page.index("&lt;script&gt;") < page.index("0.100")
