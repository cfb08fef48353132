from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from vertebra.tasks.reporting.charts import Line
from vertebra.tasks.reporting.plots import Panel, draw_panel, line_plot


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
