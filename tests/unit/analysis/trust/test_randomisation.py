"""The sanity check: known failures come out, and the network keeps its weights."""

import functools

import pytest
import torch
from torch import Tensor, nn

from analysis.attribution.methods import attribute
from analysis.errors import Cancelled, UserError
from analysis.trust.randomisation import Sanity, Stage, measure_sanity, randomise_from_head
from models.data.images import open_image
from models.data.samples import get_sample
from models.registry import Registry
from tests.unit.analysis.attribution.explained import ResidualNet


@functools.cache
def open_trained() -> tuple[nn.Module, Tensor]:
    """EfficientNet-Lite0 as it was trained on ImageNet, and the photograph of a cat."""
    spec = Registry("nowhere").get("efficientnet_lite0")
    pixels = spec.preprocessing.to_pixels(open_image(get_sample("chelsea").path))
    return spec.build().eval(), spec.to_inputs(pixels[None], torch.device("cpu"))


def check(method: str, net: nn.Module, picture: Tensor) -> Sanity:
    target = int(net(picture).argmax())
    first = attribute(net, picture, target, method)

    def explain(other, inputs):
        return attribute(other, inputs, target, method, layer=first.layer).values

    return measure_sanity(net, picture, first.values, explain, stages=3)


def test_guided_backprop_fails_where_the_gradient_and_grad_cam_pass():
    found = {method: check(method, *open_trained()) for method in ("guided_backprop", "saliency", "grad_cam")}
    assert {method: sanity.passes for method, sanity in found.items()} == {
        "guided_backprop": False,
        "saliency": True,
        "grad_cam": True,
    }
    assert found["guided_backprop"].rank_correlation > 0.85
    assert max(found["saliency"].rank_correlation, abs(found["grad_cam"].rank_correlation)) < 0.5


def test_at_last_nothing_is_left_of_what_was_learned():
    net, picture = open_trained()
    ((layer, share, _),) = randomise_from_head(net, picture, 1)
    assert layer == "classifier" and share == pytest.approx(1 / 99, abs=1e-3)  # the head alone
    *_, (_, share, forgetful) = randomise_from_head(net, picture, 2)
    assert share == 1
    with torch.inference_mode():
        logits = net(picture)[0], forgetful(picture)[0]
    assert int(logits[0].argmax()) in range(281, 286)  # cats
    assert abs(torch.corrcoef(torch.stack(logits))[0, 1]) < 0.2


def test_a_picture_of_the_edges_fails_and_noise_passes():
    torch.manual_seed(0)
    net, picture = ResidualNet(), torch.randn(1, 3, 40, 40)
    edges = picture[0].diff(dim=-1, prepend=picture[0, :, :, :1])
    generator = torch.Generator().manual_seed(0)

    def draw(*_: object) -> Tensor:
        return torch.randn(edges.shape, generator=generator)

    same = measure_sanity(net, picture, edges, lambda *_: edges)
    assert same.passes is False and same.rank_correlation == pytest.approx(1) == same.ssim
    noise = measure_sanity(net, picture, draw(), draw)
    assert noise.passes is True and abs(noise.rank_correlation or 1) < 0.1


def test_a_copy_forgets_and_the_network_does_not():
    torch.manual_seed(0)
    net, picture = ResidualNet(), torch.randn(1, 3, 12, 12)
    net.bn.running_mean += 1
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    state = torch.get_rng_state()

    def cascade() -> dict[str, dict[str, Tensor]]:
        stages = randomise_from_head(net, picture, 9)
        return {
            layer: {name: tensor.clone() for name, tensor in other.state_dict().items()} for layer, _, other in stages
        }

    found = cascade()

    assert net.training and torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert [*found] == ["fc", "conv3", "conv2", "bn", "conv1"]  # from the head down
    for stage, (layer, weights) in enumerate(found.items()):
        changed = {name.split(".")[0] for name, tensor in weights.items() if not torch.equal(tensor, before[name])}
        assert changed == {*[*found][: stage + 1]}, layer
    assert not found["bn"]["bn.running_mean"].any()
    again = cascade()
    assert all(torch.equal(tensor, again["conv1"][name]) for name, tensor in found["conv1"].items())


def test_signals_neither_vanish_nor_grow_in_a_deep_network():
    torch.manual_seed(0)
    net = nn.Sequential(*(part for _ in range(60) for part in (nn.Linear(64, 64), nn.ReLU())), nn.Linear(64, 10))
    *_, (_, _, other) = randomise_from_head(net, torch.randn(1, 64), 2)
    assert 1e-3 < other(torch.randn(20, 64)).std() < 1e3


def test_stages_without_a_map_do_not_count_and_work_can_be_stopped():
    nothing = Stage("head", 0.1, None, None)
    assert Sanity((nothing,)).passes is None
    assert Sanity((nothing, Stage("a", 0.4, 0.9, 0.5), Stage("b", 1.0, 0.0, 0.1))).rank_correlation == 0.9
    assert Sanity((Stage("head", 1.0, 0.2, 0.1),)).passes is True  # a linear model is its own head

    def fail(*_: object) -> Tensor:
        raise UserError("not finite")

    net, picture = ResidualNet(), torch.randn(1, 3, 12, 12)
    assert measure_sanity(net, picture, picture[0], fail, stages=2).rank_correlation is None

    def stop(done: int, total: int) -> None:
        if done == 1:
            raise Cancelled

    with pytest.raises(Cancelled):
        measure_sanity(net, picture, picture[0], lambda *_: picture[0], progress=stop)
