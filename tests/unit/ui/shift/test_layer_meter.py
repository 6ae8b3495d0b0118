"""What the Layers part of the Shift tab says of a reading."""

from analysis.equivariance.meter import LayerMeter
from lab.results import MeterReading
from models.registry import fashion_cnn
from ui.shift.layer_meter import _describe, _show_rows


def read(*meters: LayerMeter, is_twin: bool = False) -> MeterReading:
    return MeterReading(fashion_cnn(), 1, 0, "zero", is_twin, meters, ())


def test_only_layers_whose_causes_are_measured_count():
    known = LayerMeter("a", 2, 3, 9, error=0.2, skill=0.5, cause="stride")
    unknown = LayerMeter("b", 4, 40, 4, error=0.3, skill=0.5)
    assert "In 1 of 1 layers the largest cause is stride." in _describe(read(known))
    assert "In 1 of 1 layers whose causes are measured the largest cause is stride." in _describe(
        read(known, unknown)
    )
    assert "cause" not in _describe(read(unknown))


def test_what_is_not_measured_is_a_dash_with_its_reason_on_every_network():
    meter = LayerMeter("b", 4, 40, 4, error=0.3, padding_error=None, note="It is <so>. It is not.")
    for is_twin in (False, True):
        html = _show_rows(read(meter, LayerMeter("c", 1, 3, 9, error=0.1, padding_error=0.05), is_twin=is_twin))
        assert html.count("<td>–</td>") > 0
        assert "<td>0.05</td>" in html
        assert "It is &lt;so&gt;. (1 of 2 layers)" in html
        assert "It is not. (1 of 2 layers)" in html
