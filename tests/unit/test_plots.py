"""Figures for notebooks: what is drawn is what the tables hold."""

import numpy as np
import pandas as pd
import pytest

from riskweave.plots import plot_curves, plot_intervals

TABLE = pd.DataFrame(
    {
        "experiment": ["b", "a", "b", "a"],
        "method": ["one", "one", "two", "two"],
        "estimate": [0.2, -0.1, 0.3, np.nan],
        "lower": [0.1, -0.2, 0.2, np.nan],
        "upper": [0.3, 0.0, 0.4, np.nan],
    }
)


def test_rows_stand_in_the_order_of_the_table_with_the_first_on_top():
    axes = plot_intervals(TABLE, label="experiment", by="method", xlabel="difference", line=0).axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["b", "a"]
    assert axes.yaxis_inverted()
    first, second = (line for line in axes.lines if line.get_label() in ("one", "two"))
    np.testing.assert_array_equal(first.get_xdata(), [0.2, -0.1])
    np.testing.assert_array_equal(np.round(first.get_ydata()), [0, 1])
    assert (second.get_ydata() > first.get_ydata()).all()
    assert first.get_color() != second.get_color()
    assert first.get_marker() != second.get_marker()
    ends = axes.collections[0].get_segments()
    np.testing.assert_allclose([segment[:, 0] for segment in ends], [[0.1, 0.3], [-0.2, 0.0]])


def test_the_wide_interval_is_thinner():
    table = TABLE.head(2).assign(joint_lower=-1.0, joint_upper=1.0)
    axes = plot_intervals(table, label="experiment", xlabel="", wide=("joint_lower", "joint_upper")).axes[0]
    wide, narrow = axes.collections
    assert [segment[:, 0].tolist() for segment in wide.get_segments()] == [[-1, 1], [-1, 1]]
    assert wide.get_linewidth()[0] < narrow.get_linewidth()[0]


def test_curves_have_their_bands_and_are_told_apart_without_colour():
    x = np.linspace(0, 1, 5)
    parts = [pd.DataFrame({"x": x, "y": k * x, "lower": k * x - 1, "upper": k * x + 1, "name": f"{k}"}) for k in (1, 2)]
    grey = {"all": pd.DataFrame({"x": x, "y": -x})}
    figure = plot_curves(pd.concat(parts), x="x", y="y", by="name", grey=grey, xlabel="x", ylabel="y", floor=-0.5)
    axes = figure.axes[0]
    assert [line.get_label() for line in axes.lines] == ["all", "1", "2"]
    np.testing.assert_array_equal(axes.lines[2].get_ydata(), 2 * x)
    assert axes.lines[1].get_linestyle() != axes.lines[2].get_linestyle()
    assert len(axes.collections) == 2
    assert axes.get_ylim()[0] == -0.5


def test_more_series_than_colours_are_refused():
    table = pd.DataFrame({"name": list("abcde"), "estimate": 0.0, "lower": 0.0, "upper": 0.0})
    with pytest.raises(ValueError, match="5 values of name: a figure tells 4 apart"):
        plot_intervals(table, label="name", by="name", xlabel="")
