"""Options: one table that checks values, reads text and tells a page what to show."""

from typing import Annotated

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.errors import UserError
from models.networks.options import FROM_DATA, ArchitectureConfig, list_options
from models.networks.table import ARCHITECTURES
from models.settings import Choice, Integer, Integers, Number, build_config, checked_dataclass
from tests.sentences import refused


@checked_dataclass
class Toy(ArchitectureConfig):
    """One option of each kind."""

    shape: Annotated[str, Choice(("round", "square"))] = "round"
    depth: Annotated[int, Integer(2, 20, step=6, rule="2, 8, 14 or 20")] = 8
    rate: Annotated[float, Number(0.0, 1.0)] = 0.5
    widths: Annotated[tuple[int, ...], Integers(1, 9, (1, 3), (4, 5), only_with={"shape": ("round",)})] = (4, 5)

    @property
    def num_parameters(self) -> int:
        return 10**6 * sum(self.widths) * self.depth


def test_what_a_page_needs_to_know():
    options = list_options(Toy)
    assert list(options) == ["shape", "depth", "rate", "widths"]
    assert [type(option) for option in options.values()] == [Choice, Integer, Number, Integers]
    assert [option.default for option in options.values()] == ["round", 8, 0.5, (4, 5)]
    assert options["shape"].choices == {"round": "round", "square": "square"}
    assert (options["depth"].low, options["depth"].high, options["depth"].step) == (2, 20, 6)
    assert options["widths"].only_with == {"shape": ("round",)}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_options_of_every_architecture(name):
    config_class = ARCHITECTURES[name][0]
    options = list_options(config_class)
    assert not options.keys() & set(FROM_DATA)
    for key, option in options.items():
        assert getattr(config_class, key) == option.default
        option.check(key, option.default)
        assert all(option.choices.values())
        assert all(set(values) <= options[other].choices.keys() for other, values in option.only_with.items())


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [("shape", " square ", "square"), ("depth", "14", 14), ("rate", "1e-1", 0.1), ("widths", "3, 4,", (3, 4))],
)
def test_text_becomes_a_value(name, text, value):
    assert list_options(Toy)[name].parse(name, text) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("shape", "oval"),
        ("depth", "9"),
        ("depth", "many"),
        ("rate", "nan"),
        ("rate", ""),
        ("widths", ""),
        ("widths", "1,2,3,4"),
        ("widths", "1,99"),
        ("widths", "1.5"),
    ],
)
def test_text_that_is_refused(name, text):
    with refused():
        list_options(Toy)[name].parse(name, text)


def test_lists_from_files_become_tuples_and_too_many_weights_are_counted():
    assert Toy(widths=[1, 2]).widths == (1, 2) and hash(Toy(widths=[1, 2])) == hash(Toy(widths=(1, 2)))
    assert Toy(widths=(9, 9, 7), depth=8).num_parameters == 200_000_000
    with refused("208", "200"):
        Toy(widths=(9, 9, 8), depth=8)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(10**30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=5,
)


@settings(max_examples=40)
@given(data=st.data())
def test_any_value_gives_a_config_or_a_sentence(data):
    name = data.draw(st.sampled_from([name for name in ARCHITECTURES if name != "transfer"]))
    config_class = ARCHITECTURES[name][0]
    names = [*list_options(config_class), *FROM_DATA]
    values = data.draw(st.dictionaries(st.sampled_from(names), VALUES, max_size=4))
    try:
        config = build_config(config_class, values)
    except UserError as refusal:
        assert 10 < len(str(refusal)) < 400
    else:
        assert 0 < config.num_parameters <= config.max_parameters
