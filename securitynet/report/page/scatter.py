"""The page's scatter plot: Bokeh's, written empty; the page's script fills it, in a colour per dataset, and keeps it with the table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bokeh.models import ColumnDataSource
    from bokeh.plotting import figure

FONT = "system-ui, sans-serif"
KINDS = {"others": ("other models", 7, 0.55), "mine": ("yours", 13, 1.0)}  # title, size in pixels, opacity


def scatter(legend: bool) -> dict[str, Any]:
    """Return the plot as Bokeh's own JSON, its parts named for the script; with a legend, one says which marks are one's own."""
    from bokeh.embed import json_item
    from bokeh.models import BoxZoomTool, ColumnDataSource, HoverTool, TapTool, ZoomInTool, ZoomOutTool
    from bokeh.plotting import figure

    tools = [BoxZoomTool(), TapTool(), HoverTool(name="hover", limit=1), ZoomInTool(name="in"), ZoomOutTool(name="out")]
    plot = figure(name="plot", height=400, sizing_mode="stretch_width", tools=tools, toolbar_location=None)
    plot.background_fill_color = plot.border_fill_color = plot.outline_line_color = None
    marks = ColumnDataSource({"x": [], "y": [], "c": []}, name="marks")
    _layer(plot, marks, "others", "circle")
    _layer(plot, marks, "mine", "diamond")
    _furnish(plot, legend)
    return dict(json_item(plot, "scatter"))


def _layer(plot: figure, marks: ColumnDataSource, name: str, marker: str) -> None:
    """Add marks of one kind; a filter of that name says which of them are drawn."""
    from bokeh.models import CDSView, IndexFilter

    view, (title, size, alpha) = CDSView(filter=IndexFilter([], name=name)), KINDS[name]
    look: dict[str, Any] = {"marker": marker, "size": size, "alpha": alpha, "fill_color": "c", "line_color": None}
    drawn = plot.scatter("x", "y", source=marks, view=view, legend_label=title, **look)
    drawn.glyph.name, drawn.nonselection_glyph = f"{name} glyph", None


def _furnish(plot: figure, legend: bool) -> None:
    key = plot.legend[0]
    plot.add_layout(key, "above")
    key.update(name="legend", visible=legend, orientation="horizontal", label_text_font=FONT)
    key.update(border_line_color=None, background_fill_color=None)
    for axis, grid, name in ((plot.xaxis[0], plot.xgrid[0], "across"), (plot.yaxis[0], plot.ygrid[0], "up")):
        axis.update(name=name, axis_label_text_font=FONT, axis_label_text_font_style="normal", major_label_text_font=FONT)
        axis.update(minor_tick_line_color=None)
        grid.name = f"{name} grid"
