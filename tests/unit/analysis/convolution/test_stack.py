"""Stacks: every number against the modules that they describe."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from analysis.convolution.layers import KINDS
from analysis.convolution.presets import PRESETS
from analysis.convolution.stack import build, measure_stack, read_layers, read_shape
from analysis.errors import UserError
from analysis.network.layers import list_layers
from analysis.network.summary import summarize
from tests.sentences import refused


def check_against_modules(layers, shape):
    """Shapes, parameters, multiply-adds and receptive fields of a forward pass without numbers."""
    rows = measure_stack(layers, shape)
    with torch.device("meta"):
        network, picture = build(layers, shape).eval(), torch.zeros(2, *shape)
    summary = summarize(network, picture)
    assert sum(row.parameters for row in rows) == summary.num_params
    assert sum(row.macs for row in rows) == summary.multiply_adds
    outputs = {layer.name: layer for layer in list_layers(network, picture)}
    ends = {"residual": "add"}
    left = list(rows)
    for number, layer in enumerate(layers):
        while (row := left.pop(0)).layer != ends.get(layer.kind, layer.text):
            assert layer.kind == "residual"
        found = outputs[str(number)]
        assert row.shape == found.output_shape
        if layer.kind != "flatten" and "flatten" not in [before.kind for before in layers[:number]]:
            assert row.receptive_field_input == found.receptive_field, layer.text
    assert not left
    return rows


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_the_networks_they_describe(name):
    check_against_modules(PRESETS[name].layers, PRESETS[name].shape)


@pytest.mark.parametrize(
    ("name", "millions"),
    [("vgg_a", 133), ("vgg_b", 133), ("vgg_c", 134), ("vgg_d", 138), ("vgg_e", 144), ("alexnet", 61)],
)
def test_published_numbers_of_parameters(name, millions):
    assert round(sum(row.parameters for row in PRESETS[name].measure()) / 1e6) == millions


def test_the_numbers_of_the_notes():
    (row,) = measure_stack(read_layers("conv(10,5,1,2)"), (3, 32, 32))
    assert row.to_json() == {
        "layer": "conv(10,5,1,2)",
        "shape": [10, 32, 32],
        "parameters": 760,
        "macs": 10 * 32 * 32 * 75,
        "receptive_field_previous": 5,
        "receptive_field_input": 5,
    }
    assert row.sums["parameters"] == "10 * (5*5*3 + 1) = 760"
    three, one = PRESETS["three_3x3"].measure(), PRESETS["one_7x7"].measure()
    assert three[-1].receptive_field_input == one[-1].receptive_field_input == 7
    assert [sum(row.parameters for row in rows) for rows in (three, one)] == [27 * 64**2, 49 * 64**2]
    assert sum(row.parameters for row in PRESETS["lenet5"].measure()) == 61_706
    six, dense = (PRESETS[name].measure()[-1] for name in ("six_filters", "fully_connected"))
    assert six.shape == (6, 28, 28) and dense.shape == (28 * 28 * 6,) and dense.parameters > 30_000 * six.parameters


_LAYERS = st.one_of(
    st.builds(
        "conv({},{},{},{},{},{},{})".format,
        st.sampled_from([4, 6, 8]),
        st.sampled_from([1, 2, 3, 5]),
        st.integers(1, 3),
        st.integers(0, 2),
        st.integers(1, 2),
        st.sampled_from([1, 2]),
        st.integers(0, 1),
    ),
    st.builds(
        "{}({},{},{})".format,
        st.sampled_from(["pool", "avgpool"]),
        st.integers(2, 3),
        st.integers(0, 2),
        st.integers(0, 1),
    ),
    st.sampled_from(["norm", "relu", "groupnorm(2)", "lrn", "dropout(20)", "gelu"]),
    st.sampled_from(["residual(conv(6,3,1,1) relu)", "residual(conv(8,3,2,1,bias=0) norm relu conv(8,3,1,1))"]),
)
_ENDS = st.sampled_from(["", "gap linear(5)", "flatten linear(7,0) norm relu linear(3)", "conv(2,1) gap"])


@given(st.lists(_LAYERS, min_size=1, max_size=4), _ENDS, st.integers(6, 20), st.integers(0, 3))
def test_random_stacks_are_what_their_modules_do(parts, end, side, taller):
    layers, shape = read_layers(" ".join([*parts, end])), (2, side + taller, side)
    try:
        measure_stack(layers, shape)
    except UserError:
        with pytest.raises((UserError, RuntimeError, ValueError)), torch.device("meta"):
            build(layers, shape)(torch.zeros(1, *shape))
        return
    check_against_modules(layers, shape)


def test_a_built_stack_trains():
    torch.manual_seed(0)
    network = build(read_layers("conv(4,3) norm relu residual(conv(4,3,1,1) norm) gap linear(3)"), (1, 8, 8))
    network(torch.randn(4, 1, 8, 8)).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_layers_are_read_by_place_and_by_name():
    same = [
        "conv(6,5,1,2)",
        "conv( 6 , 5 , padding=2 )",
        "Conv(kernel=5,filters=6,padding=2);",
        "conv(6,5,1,2,1,1,1)",
    ]
    assert len({tuple(sorted(read_layers(text)[0].numbers.items())) for text in same}) == 1
    kinds = [layer.kind for layer in read_layers("conv(6,5) pool(2), norm\nrelu flatten gap linear(10)")]
    assert kinds == ["conv", "pool", "norm", "relu", "flatten", "gap", "linear"] and kinds[0] in KINDS
    assert read_shape("3,32,32") == read_shape(" 3 x 32x32 ") == (3, 32, 32)


@pytest.mark.parametrize(
    ("text", "shape", "facts"),
    [
        ("conv(6,5) conv(6,30)", "3,32,32", ["30 x 30", "28 x 28"]),
        ("conv(6,3,groups=2)", "3,32,32", [3, 2]),
        ("conv(5,3,groups=2)", "4,32,32", [5, 2]),
        ("linear(10)", "3,32,32", ["3 x 32 x 32", "flatten"]),
        ("flatten conv(6,5)", "3,32,32", [3072]),
        ("gap pool(2)", "3,32,32", [3]),
        ("pool(2,2,2)", "3,32,32", [2, 1]),
        ("groupnorm(2)", "3,32,32", [3, 2]),
        ("residual(conv(4,3))", "4,8,8", ["4 x 6 x 6", "4 x 4 x 4"]),
        ("residual(flatten)", "4,8,8", []),
        ("linear(1000000) linear(1000000)", "4,8,8", []),
        ("flatten linear(1000000) linear(1000000) linear(1000000)", "4,1000,1000", []),
        ("residual(residual(relu))", "4,8,8", []),
        ("residual()", "4,8,8", []),
        ("residual", "4,8,8", []),
        ("", "4,8,8", [0]),
        ("relu " * 401, "4,8,8", [401]),
        ("relu " * 5000, "4,8,8", [25_000]),
        ("convo(6,5)", "4,8,8", ["conv"]),
        ("zzz", "4,8,8", ["linear"]),
        ("conv(6)", "4,8,8", ["kernel"]),
        ("conv(6,5,padding=100)", "4,8,8", [64, 100]),
        ("conv(6,5,x=1)", "4,8,8", ["x=1"]),
        ("conv(6,5,filters=3)", "4,8,8", ["filters=3"]),
        ("relu(3)", "4,8,8", ["3"]),
        ("conv(6,5", "4,8,8", []),
        ("conv(6,five)", "4,8,8", ["five"]),
        ("conv(0,5)", "4,8,8", [0]),
        (")", "4,8,8", [")"]),
        ("relu", "4,8", ["4,8"]),
        ("relu", "4,8,0", ["4,8,0"]),
        ("relu", "4,8,9999", [4096]),
        ("conv(1,3,1024,1) " * 150, "4,8,8", ["2,147,483,648"]),
    ],
    ids=lambda value: str(value)[:24],
)
def test_what_cannot_be_is_refused_with_its_numbers(text, shape, facts):
    with refused(*facts):
        measure_stack(read_layers(text), read_shape(shape))
