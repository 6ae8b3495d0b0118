"""What the Layers part of the Shift tab says of a reading."""

import csv
import io
import re

from analysis.equivariance.meter import LayerMeter
from analysis.equivariance.own_error import OwnError
from lab.results import MeterReading
from models.registry import fashion_cnn
from ui.shift.layer_meter import _describe, _show_rows, _write_csv

POOL = OwnError("b", 1, 2, 0.5, 0.125, 0.5, 0.125, "stride")
RELU = OwnError("c", 2, 2, 1e-7, 1e-7, None, None, "none")


def read(
    *meters: LayerMeter, is_twin: bool = False, own: tuple[OwnError, ...] = (), dx: float = 1, dy: float = 0
) -> MeterReading:
    return MeterReading(fashion_cnn(), dx, dy, "zero", is_twin, meters, (), own)


def list_cells(html: str) -> list[list[str]]:
    return [re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r"<tr .*?</tr>", html)]


def test_the_layer_with_the_largest_error_of_its_own_is_named_and_why():
    meters = [LayerMeter(name, 2, 3, 9, error=0.2, skill=0.5) for name in "abc"]
    own = (OwnError("a", 1, 1, 0.25, 0.25, 0.0, 0.25, "padding"), POOL, RELU)
    out_of_phase, in_phase = _describe(read(*meters, own=own)), _describe(read(*meters, own=own, dx=2))
    assert (
        "right: b brings in the most error of its own, 0.5 when its input alone moves by 1 px, because its stride"
        in out_of_phase
    )
    assert "Then come a with 0.25 (padding)." in out_of_phase
    assert (
        "right: a brings in the most error of its own, 0.25 when its input alone moves by 1 px, because it pads"
        in in_phase
    )
    assert "Then come b with 0.12 (padding)." in in_phase
    unknown = _describe(read(*meters, own=(*own, OwnError("d", None, 2))))
    assert "Of 1 of 4 layers the own error is not known." in unknown and "not known" not in out_of_phase
    assert "no layer brings in an error of its own" in _describe(read(*meters, own=(RELU,)))


def test_the_row_of_a_layer_has_its_own_error_at_the_shift():
    meters = [LayerMeter(name, 2, 3, 9, error=0.2) for name in "bc"] + [LayerMeter("d", 2, 3, 9, error=0.1)]
    reading = read(*meters, own=(POOL, RELU))
    cells = [row[:3] for row in list_cells(_show_rows(reading))]
    assert cells == [["b", "0.5", "stride"], ["c", "0", ""], ["d", "–", "–"]]
    rows = list(csv.DictReader(io.StringIO(_write_csv(reading).lstrip("\ufeff"))))
    assert [(row["name"], row["own_error"], row["own_in_phase"], row["own_cause"]) for row in rows] == [
        ("b", "0.5", "0.125", "stride"),
        ("c", "1e-07", "1e-07", "none"),
        ("d", "", "", ""),
    ]


def test_a_cause_larger_than_the_error_is_marked_in_its_cell_and_explained_above():
    larger = LayerMeter("b", 2, 3, 9, error=0.2, stride_error=0.3, padding_error=0.1, note="They act <so>.")
    usual = LayerMeter("c", 2, 3, 9, error=0.2, stride_error=0.2, padding_error=0.1)
    html = _show_rows(read(larger, usual))
    (marked, *others), plain = ([cell for cell in row if "small" in cell] for row in list_cells(html))
    assert marked.startswith('0.3 <small title="They act &lt;so&gt;.">') and others == plain == []
    explanation = "does more by itself than all together"
    assert html.index(explanation) < html.index("<table")
    assert explanation not in _show_rows(read(usual))


def test_only_layers_whose_causes_are_measured_count():
    known = LayerMeter("a", 2, 3, 9, error=0.2, skill=0.5, cause="stride")
    unknown = LayerMeter("b", 4, 40, 4, error=0.3, skill=0.5)
    assert "In 1 of 1 layers the largest cause is stride." in _describe(read(known))
    assert "In 1 of 1 layers whose causes are measured the largest cause is stride." in _describe(
        read(known, unknown)
    )
    assert "cause" not in _describe(read(unknown))


def test_the_layer_where_the_error_grows_most_is_named_with_its_cause():
    meters = [
        LayerMeter(name, 2, 3, 9, error=error, skill=0.5, cause=cause)
        for name, error, cause in (("a", 0.2, "padding"), ("b", 0.1, None), ("c", 0.5, "stride"), ("d", 0.4, "none"))
    ]
    assert "grows most at c, from 0.1 to 0.5; of the causes up to there, stride weighs most." in _describe(
        read(*meters)
    )
    assert "grows most at a, from 0 to 0.2; of the causes up to there, padding weighs most." in _describe(
        read(*meters[:2])
    )
    assert "grows most at d, from 0 to 0.4." in _describe(read(meters[3]))
    assert "stride weighs most. It adds nothing of its own" in _describe(read(*meters, own=(RELU,)))
    assert "adds nothing of its own" not in _describe(read(*meters, own=(POOL,)))
    own = OwnError("c", 1, 2, 0.25, 0.1, 0.2, 0.1, "stride")
    assert "stride weighs most. Its own error is 0.25; the rest" in _describe(read(*meters, own=(own,)))
    assert "grows most" not in _describe(read(LayerMeter("a", 2, 3, 9, error=1e-7)))


def test_maps_without_motion_are_said_to_have_none():
    reading = read(LayerMeter("a", 2, 3, 9, error=1.2, skill=-0.1))
    assert "moving them along explains 0 %." in _describe(reading)


def test_what_is_not_measured_is_a_dash_with_its_reason_on_every_network():
    meter = LayerMeter("b", 4, 40, 4, error=0.3, padding_error=None, note="It is <so>. It is not.")
    for is_twin in (False, True):
        html = _show_rows(read(meter, LayerMeter("c", 1, 3, 9, error=0.1, padding_error=0.05), is_twin=is_twin))
        assert html.count("<td>–</td>") > 0
        assert "<td>0.05</td>" in html
        assert "It is &lt;so&gt;. (1 of 2 layers)" in html
        assert "It is not. (1 of 2 layers)" in html
