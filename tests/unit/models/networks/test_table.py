"""Every architecture with every choice: shapes, gradients, sizes known beforehand, files, seeds."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from analysis.errors import UserError
from models.checkpoints import describe_model, load_checkpoint, pack_weights
from models.data.preprocessing import Preprocessing
from models.networks.options import list_options
from models.networks.parts import ACTIVATIONS
from models.networks.repairs import list_arms
from models.networks.table import ARCHITECTURES, sketch_model
from tests.sentences import refused

SMALL = {
    "linear": {},
    "mlp": {"hidden": (9, 8)},
    "lenet5": {},
    "small_cnn": {"channels": (4, 6, 8)},
    "vgg": {"width": 0.1},
    "cifar_resnet": {"depth": 8, "width": 4},
    "resnet": {},
    "stack": {"layers": "conv(4,3) norm relu pool(2) residual(conv(6,3,2,1) norm) gap linear(9)"},
}
"""Architectures whose weights start at random -> options with which they are quick."""
NUMBERS = {"dropout": (0.0, 0.3), "blur_size": (2, 5), "padding": (1, 2), "depth": (14,), "kernel_size": (1, 5)}
NUMBERS |= {"layers": ("linear(5)", "conv(4,3,groups=2,bias=0) relu", "flatten linear(5) tanh", "avgpool(3,2,1) gap")}
"""Values of options that are no choices."""
NAMING = {"norm", "head", "configuration", "padding", "builder", "layers"}
"""Options that decide which weights there are."""
SIDE = 32


def list_cases() -> list:
    """Every architecture as it is, and with every choice of every option; every head with every downsampling."""
    cases = []
    for name in SMALL:
        options = list_options(ARCHITECTURES[name][0])
        found = [{}]
        found += [{key: value} for key, option in options.items() for value in option.choices]
        found += [{key: value} for key, values in NUMBERS.items() if key in options for value in values]
        if "head" in options:
            found += [{"head": h, "pooling": p} for h in options["head"].choices for p in options["pooling"].choices]
        cases += [pytest.param(name, case, id=f"{name}-{'-'.join(map(str, case.values()))}") for case in found]
    return cases


def make_config(name: str, options: dict | None = None):
    values = {"num_classes": 3, "in_channels": 2, "image_size": SIDE}
    return ARCHITECTURES[name][0](**SMALL[name] | values | (options or {}))


def build(config, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return next(model for kind, model in ARCHITECTURES.values() if kind is type(config))(config)


def draw(num: int, channels: int = 2) -> torch.Tensor:
    return torch.randn(num, channels, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("name", "options"), list_cases())
def test_every_choice_gives_a_network_of_the_size_it_says(name, options):
    config = make_config(name, options)
    model = build(config)
    assert sum(parameter.numel() for parameter in model.parameters()) == config.num_parameters
    assert model.config == config
    assert any(part.startswith(f"{model.head_name}.") for part in model.state_dict())

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        logits = model.train()(draw(4))
    assert logits.shape == (4, 3) and logits.isfinite().all()
    nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 0])).backward()
    unreached = [key for key, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not unreached
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())

    with torch.inference_mode():
        expected = model.eval()(draw(2))
        by_layout = model.to(memory_format=torch.channels_last)(draw(2).to(memory_format=torch.channels_last))
    torch.testing.assert_close(by_layout, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("name", "options"), [case for case in list_cases() if case.values[1].keys() <= NAMING])
def test_every_choice_comes_back_from_its_files(name, options, tmp_path):
    config = make_config(name, options)
    model = build(config).eval()
    card = describe_model(model, name, ("a", "b", "c"), Preprocessing(SIDE, SIDE, mean=(0.1, 0.2), std=(1.0, 2.0)))
    (tmp_path / "model.json").write_text(json.dumps(card))
    (tmp_path / "weights.safetensors").write_bytes(pack_weights(model)[0])
    loaded, _, _ = load_checkpoint(tmp_path / "model.json", tmp_path / "weights.safetensors")
    assert loaded.config == config
    with torch.inference_mode():
        torch.testing.assert_close(loaded(draw(2)), model(draw(2)))  # alignment in memory may differ
    torch.testing.assert_close(loaded.state_dict(), model.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("name", SMALL)
def test_the_seed_alone_decides_the_weights(name):
    config = make_config(name)
    first, again, other = (pack_weights(build(config, seed))[1] for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize("name", SMALL)
def test_a_sketch_has_shapes_and_nothing_else(name):
    config = make_config(name)
    state = torch.random.get_rng_state()
    sketch = sketch_model(config)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(parameter.is_meta for parameter in sketch.parameters()) and not sketch.training
    assert sketch(torch.empty(1, 2, SIDE, SIDE, device="meta")).shape == (1, 3)
    assert {k: v.shape for k, v in sketch.state_dict().items()} == {
        k: v.shape for k, v in build(config).state_dict().items()
    }


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("name", [name for name in SMALL if name not in ("linear", "resnet", "stack")])
def test_every_activation_is_a_module_called_once_and_not_in_place(name, activation):
    model, calls = build(make_config(name, {"activation": activation})).eval(), []
    kind = type(ACTIVATIONS[activation].build())
    parts = [part for part in model.modules() if isinstance(part, kind)]
    for part in parts:
        assert not getattr(part, "inplace", False)
        part.register_forward_hook(lambda module, *_: calls.append(module))
    model(draw(1))
    assert calls == parts and parts


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(
    "values",
    [{"num_classes": 1}, {"num_classes": True}, {"in_channels": 17}, {"image_size": 0}, {"image_size": "32"}],
    ids=str,
)
def test_data_that_no_network_takes(name, values):
    with refused():
        make_config(name, values)


@pytest.mark.parametrize("name", SMALL)
def test_every_option_refuses_what_it_does_not_list(name):
    for key, option in list_options(ARCHITECTURES[name][0]).items():
        for value in (None, "no such", [], 10**12, float("nan"), {}, [[1]], -1, "x" * 10**4):
            with pytest.raises(UserError) as refusal:
                replace(make_config(name), **{key: value})
            assert key in str(refusal.value) and len(str(refusal.value)) < 300
            assert option.title


@pytest.mark.parametrize("name", SMALL)
def test_every_architecture_has_a_title_and_arms(name):
    assert ARCHITECTURES[name][0].title
    arms = {arm.name: arm for arm in list_arms(make_config(name))}
    assert arms["as_is"].config == make_config(name)
    if name == "stack":
        assert [arm for arm, made in arms.items() if made.config] == ["as_is", "shift_augment"]
    elif name in ("linear", "mlp"):
        obstacles = {arms[arm].obstacle for arm in ("circular", "gap", "blur", "aps")}
        assert obstacles == {"It pads nothing.", "It has no feature maps to average.", "It has no downsampling."}
    else:
        assert arms["circular_aps"].config.padding_mode == "circular"
        assert arms["circular_aps"].config.pooling.startswith("aps")
