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


def test_the_layer_where_the_error_grows_most_is_named_with_its_cause():
    meters = [
        LayerMeter(name, 2, 3, 9, error=error, skill=0.5, cause=cause)
        for name, error, cause in (("a", 0.2, "padding"), ("b", 0.1, None), ("c", 0.5, "stride"), ("d", 0.4, "none"))
    ]
    assert "It grows most at c: from 0.1 to 0.5; of the causes up to there, stride weighs most." in _describe(
        read(*meters)
    )
    assert "It grows most at a: from 0 to 0.2; of the causes up to there, padding weighs most." in _describe(
        read(*meters[:2])
    )
    assert "It grows most at d: from 0 to 0.4." in _describe(read(meters[3]))


def test_maps_without_motion_are_said_to_have_none():
    reading = read(LayerMeter("a", 2, 3, 9, error=1.2, skill=-0.1))
    assert "do not move along" in _describe(reading) and "%" not in _describe(reading)


def test_what_is_not_measured_is_a_dash_with_its_reason_on_every_network():
    meter = LayerMeter("b", 4, 40, 4, error=0.3, padding_error=None, note="It is <so>. It is not.")
    for is_twin in (False, True):
        html = _show_rows(read(meter, LayerMeter("c", 1, 3, 9, error=0.1, padding_error=0.05), is_twin=is_twin))
        assert html.count("<td>–</td>") > 0
        assert "<td>0.05</td>" in html
        assert "It is &lt;so&gt;. (1 of 2 layers)" in html
        assert "It is not. (1 of 2 layers)" in html
