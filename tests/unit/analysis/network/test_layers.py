"""Layer lists and feature maps against plain hooks, with nothing left behind on the network."""

from itertools import pairwise

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import models as zoo

from analysis.network.layers import extract_features, find_layer, is_feature_map, list_layers, outline
from analysis.network.windows import Axis
from tests.sentences import refused

BUILDERS = {
    "resnet18": lambda: zoo.resnet18(weights=None),
    "mobilenet_v3_small": lambda: zoo.mobilenet_v3_small(weights=None),
    "convnext_tiny": lambda: zoo.convnext_tiny(weights=None),
    "efficientnet_lite0": lambda: timm.create_model("tf_efficientnet_lite0", pretrained=False),
}


class SharedRelu(nn.Module):
    """Calls one in-place ReLU twice and one convolution twice; gives a tuple away inside."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.bn1 = nn.BatchNorm2d(6)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(6, 6, 3, padding=1)
        self.block = nn.Sequential(nn.Conv2d(6, 8, 2, stride=2), nn.Identity())
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
        self.unused = nn.Linear(2, 2)
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x):
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.conv2(self.conv2(x)))
        return self.head(self.block(x)) * self.scale


@pytest.fixture
def net() -> SharedRelu:
    torch.manual_seed(0)
    return SharedRelu().eval()


@pytest.fixture
def inputs() -> Tensor:
    return torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module", params=BUILDERS)
def known(request) -> nn.Module:
    torch.manual_seed(0)
    return BUILDERS[request.param]().eval()


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    torch.manual_seed(0)
    return zoo.resnet18(weights=None, num_classes=10).eval()


def count_hooks(module: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in module.modules())


def by_plain_hooks(module: nn.Module, inputs: Tensor) -> list[tuple[str, Tensor]]:
    """Every tensor a named submodule returned, as it was at that moment."""
    found, handles = [], []
    for name, part in module.named_modules():

        def keep(_module, _inputs, output, name=name):
            output = output[0] if isinstance(output, tuple) else output
            if name and isinstance(output, Tensor):
                found.append((name, output.clone()))

        handles.append(part.register_forward_hook(keep))
    with torch.no_grad():
        module(inputs)
    for handle in handles:
        handle.remove()
    return found


def test_layers_are_the_calls_a_plain_hook_sees(known):
    inputs = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    layers = list_layers(known, inputs)
    hooked = by_plain_hooks(known, inputs)
    assert [layer.name.split("#")[0] for layer in layers] == [name for name, _ in hooked]
    assert [layer.output_shape for layer in layers] == [tuple(output.shape[1:]) for _, output in hooked]
    types = {name: type(part).__name__ for name, part in known.named_modules()}
    assert all(layer.type == types[layer.name.split("#")[0]] for layer in layers)
    assert len({layer.name for layer in layers}) == len(layers)


def test_parameters_add_up_to_the_models(known):
    layers = list_layers(known, torch.zeros(1, 3, 64, 64))
    assert sum(layer.num_params for layer in layers) == sum(p.numel() for p in known.parameters())


def test_each_convolution_counts_its_own_parameters(known):
    parts = dict(known.named_modules())
    convs = [layer for layer in list_layers(known, torch.zeros(1, 3, 64, 64)) if layer.type == "Conv2d"]
    assert len(convs) > 10
    for layer in convs:
        assert layer.num_params == sum(p.numel() for p in parts[layer.name].parameters())


def test_parameters_count_once_where_a_module_runs_twice(net, inputs):
    layers = {layer.name: layer for layer in list_layers(net, inputs)}
    assert layers["conv2"].num_params == 6 * 6 * 9 + 6
    assert layers["conv2#2"].num_params == 0


def test_parameters_of_the_network_itself_and_of_parts_that_are_not_called_have_rows(net, inputs):
    layers = {layer.name: layer for layer in list_layers(net, inputs)}
    rest = {name: (layer.type, layer.output_shape, layer.num_params) for name, layer in list(layers.items())[-2:]}
    assert rest == {"scale": ("Parameter", (1,), 1), "unused": ("Linear", (), 6)}
    assert not any(layers[name].is_feature_map or layers[name].stride for name in rest)


# One of every family of torchvision's classifiers, with the parameters that are no module's own or are not called.
FAMILIES = {
    "alexnet": {},
    "convnext_tiny": {},
    "densenet121": {},
    "efficientnet_b0": {},
    "efficientnet_v2_s": {},
    "googlenet": {"aux1": 3_188_968, "aux2": 3_191_016},
    "inception_v3": {"AuxLogits": 3_326_696},
    "maxvit_t": {},
    "mnasnet0_5": {},
    "mobilenet_v2": {},
    "mobilenet_v3_small": {},
    "regnet_y_400mf": {},
    "resnet18": {},
    "shufflenet_v2_x0_5": {},
    "squeezenet1_1": {},
    "swin_t": {},
    "swin_v2_t": {},
    "vgg11": {},
    "vit_b_32": {"class_token": 768},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_hold_every_parameter_of_every_family(family):
    options = {"init_weights": False} if family in ("googlenet", "inception_v3") else {}
    with torch.device("cpu" if family.startswith("regnet") else "meta"):  # its widths are computed with tensors
        network = zoo.get_model(family, weights=None, **options)
    network = network.to("meta").eval()
    side = {"inception_v3": 96, "maxvit_t": 224, "vit_b_32": 224}.get(family, 64)
    inputs = torch.empty(1, 3, side, side, device="meta")
    layers = list_layers(network, inputs)
    assert sum(layer.num_params for layer in layers) == sum(p.numel() for p in network.parameters())
    called = dict(by_plain_hooks(network, inputs))
    rest = [layer for layer in layers if layer.name.split("#")[0] not in called]
    assert {layer.name: layer.num_params for layer in rest} == FAMILIES[family]


def test_parameters_of_uncalled_parts_belong_to_the_module_around_them():
    class Projection(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(3, 3, bias=False)

        def forward(self, x):
            return F.conv2d(x, self.inner.weight[..., None, None])

    layers = list_layers(nn.Sequential(Projection(), nn.ReLU()), torch.zeros(1, 3, 4, 4))
    assert [(layer.name, layer.num_params) for layer in layers] == [("0", 9), ("1", 0)]


def test_repeated_calls_are_numbered(net, inputs):
    names = [layer.name for layer in list_layers(net, inputs)]
    assert names == [
        *("conv1", "bn1", "relu", "conv2", "conv2#2", "relu#2", "block.0", "block.1", "block"),
        *("head.0", "head.1", "head.2", "head"),
        *("scale", "unused"),  # not called, but with parameters
    ]


def test_strides_and_receptive_fields_follow_the_convolutions(net, inputs):
    layers = {layer.name: layer for layer in list_layers(net, inputs)}
    found = {name: (layers[name].stride, layers[name].receptive_field) for name in ("conv1", "conv2", "conv2#2")}
    assert found == {"conv1": (2, 3), "conv2": (2, 7), "conv2#2": (2, 11)}
    assert (layers["block"].stride, layers["block"].receptive_field) == (4, 13)
    assert (layers["head"].stride, layers["head"].receptive_field, layers["head"].sees_all) == (None, 16, True)


@pytest.mark.parametrize(
    ("build", "name", "stride", "extent"),
    [
        (lambda: zoo.resnet18(weights=None), "layer4", 32, 435),
        (lambda: zoo.mobilenet_v3_small(weights=None), "features.12", 32, 64),
    ],
    ids=["resnet18", "mobilenet_v3_small"],
)
def test_known_networks_have_their_known_geometry(build, name, stride, extent):
    layer = find_layer(list_layers(build().eval(), torch.zeros(1, 3, 64, 64)), name)
    assert (layer.stride, layer.receptive_field) == (stride, extent)
    assert layer.sees_all == (name == "features.12")  # squeeze and excitation


def test_attention_has_no_fixed_window_but_a_grid():
    swin = zoo.SwinTransformer([4, 4], 16, [1, 1], [2, 2], [4, 4], num_classes=5).eval()
    layers = {layer.name: layer for layer in list_layers(swin, torch.zeros(1, 3, 32, 32))}
    assert (layers["features.0.0"].stride, layers["features.0.0"].receptive_field) == (4, 4)
    assert (layers["permute"].stride, layers["permute"].receptive_field) == (8, None)
    assert not layers["permute"].sees_all
    vit = zoo.VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=5).eval()
    layers = {layer.name: layer for layer in list_layers(vit, torch.zeros(1, 3, 32, 32))}
    assert (layers["conv_proj"].stride, layers["conv_proj"].receptive_field) == (8, 8)
    for name in ("encoder.layers.encoder_layer_0", "encoder", "heads"):
        assert (layers[name].stride, layers[name].receptive_field) == (None, None)
    assert [layer.name for layer in outline(layers.values())] == ["conv_proj"]


def test_maps_know_where_their_rows_and_columns_look():
    net = nn.Sequential(nn.Conv2d(1, 2, (3, 5), 2, (1, 0)), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    conv, pool, flat = list_layers(net, torch.zeros(1, 1, 16, 16))
    assert conv.axes == (Axis(2, -1, 1), Axis(2, 0, 4))
    assert (conv.stride, pool.axes, flat.axes) == (2, None, None)


class Attention(nn.Module):
    """Attention over all cells of a grid; its matrix, ``(1, heads, 16, 16)``, has the shape of a map."""

    def __init__(self):
        super().__init__()
        self.patches, self.matrix, self.smooth = nn.Conv2d(3, 6, 16, 16), nn.Identity(), nn.Conv2d(6, 6, 1)

    def forward(self, x):
        tokens = self.patches(x).flatten(2).reshape(1, 2, 3, 16)
        matrix = self.matrix((tokens.transpose(2, 3) @ tokens).softmax(-1))
        return self.smooth((tokens @ matrix).reshape(1, 6, 4, 4))


def test_an_attention_matrix_has_no_stride_but_the_map_after_it_has():
    layers = {layer.name: layer for layer in list_layers(Attention().eval(), torch.zeros(1, 3, 64, 64))}
    assert {name: layer.stride for name, layer in layers.items()} == {"patches": 16, "matrix": None, "smooth": 16}
    assert layers["smooth"].axes is None


def test_only_one_picture_is_used_and_it_stays_as_it_was(net, inputs):
    seen = []
    net.register_forward_hook(lambda module, args, output: seen.append(len(output)))
    before = inputs.clone()
    in_place = nn.Sequential(nn.ReLU(inplace=True), net)
    list_layers(in_place, inputs)
    assert seen == [1]
    assert torch.equal(inputs, before)


@pytest.mark.parametrize("is_broken", [False, True])
def test_hooks_are_gone_afterwards(net, inputs, is_broken):
    net.conv1.register_forward_hook(lambda module, args, output: None)
    if is_broken:
        net.head[2] = nn.Linear(3, 3)
    for call in (list_layers, lambda module, x: extract_features(module, x, "conv1")):
        if is_broken:
            with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
                call(net, inputs)
        else:
            call(net, inputs)
        assert count_hooks(net) == 1


def test_nothing_else_changes_either(net, inputs):
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    generator = torch.get_rng_state()
    list_layers(net, inputs)
    extract_features(net, inputs, "block")
    assert all(torch.equal(tensor, state[name]) for name, tensor in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(parameter.grad is None and parameter.requires_grad for parameter in net.parameters())


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((1, 64, 7, 7), True),
        ((1, 1, 28, 28), True),
        ((1, 7, 7, 7), True),
        ((1, 8, 9, 9), True),
        ((1, 64, 49, 64), False),  # windows of attention
        ((1, 8, 1, 9), False),
        ((1, 7, 7, 768), False),
        ((1, 56, 56, 96), False),
        ((1, 64, 1, 1), False),
        ((1, 49, 96), False),
        ((1, 10), False),
    ],
)
def test_feature_maps_have_channels_first(shape, expected):
    assert is_feature_map(torch.Size(shape), (224, 224)) is expected


def test_channels_last_inside_a_network_is_no_feature_map():
    swin = zoo.SwinTransformer([4, 4], 16, [1, 1], [2, 2], [4, 4], num_classes=5).eval()
    layers = {layer.name: layer for layer in list_layers(swin, torch.zeros(1, 3, 32, 32))}
    assert layers["features.1.0"].output_shape == (8, 8, 16)
    assert not layers["features.1.0"].is_feature_map
    assert layers["permute"].is_feature_map


def test_a_layer_is_found_by_its_name(net, inputs):
    layers = list_layers(net, inputs)
    assert find_layer(layers, "conv2#2") is layers[4]


def test_wrong_names_are_answered_with_near_ones(net, inputs):
    layers = list_layers(net, inputs)
    with refused("conv3"):
        find_layer(layers, "conv3")
    with refused("zzz", "block.0, block.1, block"):
        find_layer(layers, "zzz")
    with refused("head.1"):
        find_layer(layers, "head.1")
    with refused("conv1"):
        find_layer((), "conv1")


def test_features_equal_a_manual_hook(net, inputs):
    hooked = by_plain_hooks(net, inputs)
    numbers: dict[str, int] = {}
    num_compared = 0
    for name, expected in hooked:
        numbers[name] = numbers.get(name, 0) + 1
        called = name if numbers[name] == 1 else f"{name}#{numbers[name]}"
        if is_feature_map(expected.shape, inputs.shape[-2:]):
            assert torch.equal(extract_features(net, inputs, called), expected)
            num_compared += 1
    assert num_compared == 9


def test_features_are_not_overwritten_by_an_in_place_relu(resnet):
    inputs = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert resnet.relu.inplace
    before, after = (extract_features(resnet, inputs, name) for name in ("bn1", "relu"))
    assert before.min() < -0.1
    assert torch.equal(before.relu(), after)
    with torch.no_grad():
        assert torch.equal(before, resnet.bn1(resnet.conv1(inputs)))


def test_half_precision_features_come_as_float32():
    net = nn.Sequential(nn.Conv2d(1, 2, 3)).to(torch.bfloat16)
    features = extract_features(net, torch.ones(1, 1, 5, 5, dtype=torch.bfloat16), "0")
    assert features.dtype == torch.float32
    assert torch.equal(features.bfloat16(), net(torch.ones(1, 1, 5, 5, dtype=torch.bfloat16)))


@pytest.mark.parametrize("name", ["nowhere", "conv1#2", "unused", "head.2"])
def test_features_that_do_not_exist_are_refused(net, inputs, name):
    with refused():
        extract_features(net, inputs, name)
    assert count_hooks(net) == 0


def test_an_outline_has_no_map_twice_and_ends_with_the_last_one(known):
    inputs = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    layers = list_layers(known, inputs)
    shown = [layer.name for layer in outline(layers)]
    maps = [
        (name, output)
        for name, output in by_plain_hooks(known, inputs)
        if is_feature_map(output.shape, inputs.shape[-2:])
    ]
    outputs = dict(maps)
    for first, second in pairwise(shown):
        assert outputs[first].shape != outputs[second].shape or not torch.equal(outputs[first], outputs[second])
    assert torch.equal(outputs[shown[-1]], maps[-1][1])
    assert len(shown) == len(set(shown)) >= 8
    strides = [layer.stride for layer in outline(layers)]
    assert strides == sorted(strides)


def test_an_outline_leaves_out_repeats_dropout_and_what_is_deep():
    net = nn.Sequential(
        nn.Sequential(nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU()), nn.Dropout()),
        nn.Sequential(nn.Conv2d(2, 2, 3), nn.Identity()),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    ).eval()
    shown = outline(list_layers(net, torch.randn(1, 1, 8, 8)))
    assert [layer.name for layer in shown] == ["0.0", "1.0"]


def test_an_outline_names_each_module_once(net, inputs):
    shown = outline(list_layers(net, inputs))
    assert [layer.name for layer in shown] == ["conv1", "bn1", "relu", "conv2", "block.0"]


def test_a_summary_is_what_the_public_sees(net, inputs):
    assert list_layers(net, inputs)[0].summary() == {
        "name": "conv1",
        "type": "Conv2d",
        "output_shape": (6, 8, 8),
        "num_params": 3 * 6 * 9 + 6,
        "stride": 2,
        "receptive_field": 3,
    }
