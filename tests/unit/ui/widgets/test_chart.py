"""Charts, and what they show in words."""

import json

import gradio as gr

from analysis.figures.style import build_figure
from ui.widgets.chart import Chart


def test_a_chart_brings_its_words_along_and_no_label():
    with gr.Blocks():
        chart = Chart(elem_id="chart")
    assert chart.get_config()["show_label"] is False and chart.get_block_name() == "plot"
    assert chart.postprocess(None) is None
    sent = chart.postprocess(build_figure("loss", "step").add_scatter(x=[0, 5], y=[2, 1]))
    words = json.loads(sent.plot)["layout"]["meta"]["words"]
    assert words == "loss against step; from 2 at 0, to 1 at 5, lowest 1 at 5, highest 2 at 0."
