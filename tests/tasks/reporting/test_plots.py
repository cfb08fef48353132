from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from vertebra.tasks.reporting.charts import Line
from vertebra.tasks.reporting.heatmaps import Heatmap, heatmap_plot
from vertebra.tasks.reporting.plots import Panel, Plot, draw_legend, draw_panel, line_plot


def plot(log=False):
    x = np.arange(5.0)
    lines = [Line("first <", x, x, 0), Line("second", x, x**2, None)]
    panels = [Panel(f"panel {i}", lines, "x", "y", log_y=log, marks=[1.5]) for i in range(4)]
    return line_plot("curves", "Curves & more", panels, columns=2)


def test_a_figure_has_the_colors_of_the_page_on_it_and_its_own_in_files(tmp_path):
    page = plot().html()
    assert "currentColor" in page
    assert "#010203" not in page
    assert "Curves &amp; more" in page
    svg, png = plot().save(tmp_path)
    text = svg.read_text()
    assert "currentColor" not in text
    assert "var(--line)" not in text
    ElementTree.fromstring(text)
    pixels = np.asarray(Image.open(png).convert("RGB"))
    assert pixels.shape[1] > 1000
    assert (pixels[0, 0] == 255).all()
    # the first color, blue, and the near-black of the text
    for color in ((0, 114, 178), (1, 2, 3)):
        assert (np.abs(pixels.astype(int) - color).sum(axis=2) == 0).any()


def test_all_panels_share_one_legend():
    text = plot().html()
    assert text.count("first &lt;") == 1
    assert all(f"panel {i}" in text for i in range(4))


def test_values_that_are_not_positive_are_left_out_of_a_logarithmic_axis(tmp_path):
    files = plot(log=True).save(tmp_path)
    assert all(file.stat().st_size > 1000 for file in files)
    assert "mathdefault" not in files[0].read_text()


@pytest.mark.parametrize(("spread", "share"), [(1e-6, 1e-4), (0.01, 0.9)])
def test_rounding_errors_do_not_fill_a_panel(spread, share):
    axes = Figure().subplots()
    draw_panel(axes, Panel("variance", [Line("a", np.arange(3.0), 1 + np.array([0, spread, 0]), 0)], "block", "y"))
    low, high = axes.get_ylim()
    assert spread / (high - low) == pytest.approx(share, rel=0.6)


@pytest.mark.parametrize(
    ("values", "ticks"),
    [((60, 240), [100, 150, 200]), ((0.0004, 0.0013), [0.0006, 0.0008, 0.001]), ((0.2, 15), [0.5, 1, 2, 5, 10])],
)
def test_a_logarithmic_axis_of_few_decades_has_labels(values, ticks):
    axes = Figure().subplots()
    draw_panel(axes, Panel("norm", [Line("a", np.arange(2.0), np.array(values, dtype=float), 0)], "x", "y", log_y=True))
    shown = {float(f"{tick:.6g}") for tick in axes.get_yticks() if values[0] <= tick <= values[1]}
    assert set(ticks) <= shown
    assert len(shown) <= 9


def test_few_values_of_a_logarithmic_axis_have_their_own_labels():
    axes = Figure().subplots()
    draw_panel(axes, Panel("steps", [Line("a", np.array([1, 2, 4, 8]), np.arange(4.0), 0)], "x", "y", log_x=True))
    assert axes.get_xticks().tolist() == [1, 2, 4, 8]


def test_marks_are_named_once_after_the_lines_of_all_panels():
    lines = [Line("untrained", np.arange(3.0), np.arange(3.0), 1)]
    text = line_plot("a", "A", [Panel("p", lines, "x", "y", marks=[0.5, 1.5], marks_name="a stage begins")] * 2).html()
    assert text.count("a stage begins") == text.count(">untrained<") == 1
    assert text.index(">untrained<") < text.index("a stage begins")


def test_the_entries_of_a_legend_are_in_even_rows_inside_the_figure():
    def draw(figure):
        axes = figure.subplots()
        for i in range(8):
            axes.plot([0, 1], label=f"a name of some length {i}")
        draw_legend(figure, [axes])

    figure = Plot("a", "A", draw, (700, 300))._figure
    (legend,) = figure.legends
    box = legend.get_window_extent()
    assert figure.bbox.x1 / 2 < box.x1 - box.x0 <= figure.bbox.x1
    assert 0 <= box.x0 < box.x1 <= figure.bbox.x1


def cells(values, names):
    heatmap = Heatmap("a", np.array(values), names, names, "y", "x")
    axes = heatmap_plot("a", "A", [heatmap])._figure.axes[0]
    return [text.get_text() for text in axes.texts], axes.get_xticklabels()[0].get_rotation()


def test_cells_have_as_many_digits_as_their_values_need_and_short_names_lie():
    assert cells([[0.0021, 0.19], [0.01, 0.0]], ["0", "1"]) == (["0.002", "0.190", "0.010", "0.000"], 0)
    assert cells([[1.0, 0.25], [0.25, 1.0]], ["layer1", "layer2"]) == (["1.00", "0.25", "0.25", "1.00"], 0)
    long = [f"blocks.{i}" for i in range(12)]
    assert cells(np.zeros((12, 12)), long) == ([], 90)
