"""The sample pictures: all there, all readable, found by name."""

import pytest

from models.data.images import open_image
from models.data.samples import get_sample, list_samples
from models.data.shapes import SHAPES
from models.registry import fashion_cnn
from tests.sentences import refused

SAMPLES = list_samples()


@pytest.mark.parametrize("name", SAMPLES)
def test_every_sample_opens(name):
    sample = get_sample(name)
    assert sample.name == name and sample.title
    image = open_image(sample.path)
    assert min(image.size) >= 28


def test_photographs_come_first_then_one_garment_of_each_class():
    names = list(SAMPLES)
    garments = [name for name in names if SAMPLES[name].path.parent.name == "garments"]
    assert names[:2] == ["chelsea", "coffee"] and names[8 : 8 + len(garments)] == garments
    spelled = [category.lower().split("/")[0] for category in fashion_cnn().categories]
    assert [SAMPLES[name].title.lower() for name in garments] == spelled


def test_shapes_carry_the_names_of_their_classes():
    shapes = [name for name, sample in SAMPLES.items() if sample.path.parent.name == "shapes"]
    assert shapes == list(SHAPES)


def test_kinds_are_those_of_the_models_that_know_them():
    kinds = {sample.kind for sample in SAMPLES.values()}
    assert kinds == {"photographs", "garments", "shapes"}
    for sample in SAMPLES.values():
        image = open_image(sample.path)
        if sample.kind == "photographs":
            assert min(image.size) > 200 and "skimage" in str(sample.path)
        else:
            assert sample.path.parent.name == sample.kind
    names = {kind: [name for name, sample in SAMPLES.items() if sample.kind == kind] for kind in kinds}
    assert names["shapes"] == list(SHAPES)
    assert len(names["garments"]) == len(fashion_cnn().categories)
    assert {"chelsea", "coffee"} < set(names["photographs"])


def test_unknown_samples_are_refused_with_the_names():
    with refused("dog", "chelsea, coffee"):
        get_sample("dog")
