"""Attention rollout against attention computed by hand in float64, and what it refuses."""

import pytest
import torch
import torchvision.models as tv
from torch import Tensor, nn

from analysis.attribution.methods import attribute, find_obstacles
from analysis.attribution.rollout import find_obstacle
from tests.sentences import refused


def build_vit() -> nn.Module:
    net = tv.VisionTransformer(32, 8, num_layers=3, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=5)
    nn.init.normal_(net.heads.head.weight)  # zero, else
    return net.double().eval()


def build_timm(**options) -> nn.Module:
    timm = pytest.importorskip("timm")
    options = {
        "img_size": 32,
        "patch_size": 8,
        "embed_dim": 16,
        "depth": 3,
        "num_heads": 2,
        "num_classes": 5,
    } | options
    return timm.models.VisionTransformer(**options).double().eval()


@pytest.fixture
def picture() -> Tensor:
    return torch.randn(1, 3, 32, 32, dtype=torch.float64)


def attend(x: Tensor, qkv: tuple[Tensor, Tensor], kept: list[Tensor]) -> Tensor:
    """What two heads of eight numbers take, before the last projection; keeps the weights ``(2, N, N)``."""
    mixed = x @ qkv[0].T + qkv[1]
    heads = []
    for h in range(2):
        q, k, v = (mixed[:, 16 * part + 8 * h : 16 * part + 8 * h + 8] for part in range(3))
        scores = torch.stack([torch.stack([(a * b).sum() for b in k]) for a in q]) / 8**0.5
        weights = scores.exp() / scores.exp().sum(1, keepdim=True)
        kept.append(weights)
        heads.append(weights @ v)
    return torch.cat(heads, 1)


def compute_torchvision(net: nn.Module, picture: Tensor, kept: list[Tensor]) -> Tensor:
    patches = net.conv_proj(picture)[0].flatten(1).T
    x = torch.cat([net.class_token[0], patches]) + net.encoder.pos_embedding[0]
    for block in net.encoder.layers:
        part = block.self_attention
        taken = attend(block.ln_1(x), (part.in_proj_weight, part.in_proj_bias), kept)
        x = x + part.out_proj(taken)
        x = x + block.mlp(block.ln_2(x))
    return net.heads(net.encoder.ln(x)[0])


def compute_timm(net: nn.Module, picture: Tensor, kept: list[Tensor]) -> Tensor:
    patches = net.patch_embed.proj(picture)[0].flatten(1).T
    x = torch.cat([net.cls_token[0], patches]) + net.pos_embed[0]
    for block in net.blocks:
        x = x + block.attn.proj(attend(block.norm1(x), (block.attn.qkv.weight, block.attn.qkv.bias), kept))
        x = x + block.mlp(block.norm2(x))
    return net.head(net.norm(x)[0])


@pytest.mark.parametrize(("build", "compute"), [(build_vit, compute_torchvision), (build_timm, compute_timm)])
def test_it_is_the_rule_of_the_paper(build, compute, picture) -> None:
    net, kept = build(), []
    score = compute(net, picture, kept)
    torch.testing.assert_close(score[None], net(picture))
    gradients = torch.autograd.grad(score[2], kept)
    relevance = [[float(row == column) for column in range(17)] for row in range(17)]
    for first in range(0, 6, 2):
        mean = sum((kept[h] * gradients[h]).clamp(min=0) for h in (first, first + 1)) / 2
        step = [[sum(float(mean[i, k]) * relevance[k][j] for k in range(17)) for j in range(17)] for i in range(17)]
        relevance = [
            [old + new for old, new in zip(*rows, strict=True)] for rows in zip(relevance, step, strict=True)
        ]
    expected = torch.tensor(relevance[0][1:]).reshape(1, 4, 4)

    found = attribute(net, picture, 2, "attention_rollout")

    # A patch of 8 pixels has its centre between its fourth and its fifth.
    middles = (found.values[:, 3::8] + found.values[:, 4::8]) / 2
    middles = (middles[..., 3::8] + middles[..., 4::8]) / 2
    assert found.placement == "centres" and found.values.shape == (1, 32, 32) and found.values.min() >= 0
    corners = found.values[:, ::31, ::31]
    torch.testing.assert_close(corners, expected[:, ::3, ::3].float(), rtol=1e-4, atol=1e-7)
    assert torch.corrcoef(torch.stack([middles.flatten(), expected.float().flatten()]))[0, 1] > 0.95
    other = attribute(net, picture, 3, "attention_rollout").values
    assert not torch.allclose(found.values, other)


@pytest.mark.parametrize("build", [build_vit, build_timm])
def test_nothing_is_left_behind(build, picture) -> None:
    net = build().train()
    fused = [getattr(part, "fused_attn", None) for part in net.modules()]

    attribute(net, picture, 0, "attention_rollout")
    find_obstacles(net, picture)

    with pytest.raises(RuntimeError, match="broken"):
        break_down(net, picture)
    assert [getattr(part, "fused_attn", None) for part in net.modules()] == fused
    assert all(part.training and not part._forward_hooks and not part._forward_pre_hooks for part in net.modules())


def break_down(net: nn.Module, picture: Tensor) -> None:
    """Fails in the last module, when all is in place."""

    def fail(_module: nn.Module, _inputs: tuple) -> None:
        raise RuntimeError("broken")

    last = list(net.modules())[-1]
    with last.register_forward_pre_hook(fail):
        find_obstacle(net, picture)


@pytest.mark.parametrize(
    "build",
    [
        lambda: tv.resnet18(weights=None),
        lambda: tv.SwinTransformer([4, 4], 8, depths=[1, 1], num_heads=[1, 2], window_size=[2, 2]),
        lambda: build_timm(class_token=False, global_pool="avg"),
        lambda: build_timm(global_pool="avg"),
    ],
)
def test_what_has_no_class_token_that_looks_at_patches_is_refused_with_the_reason(build, picture) -> None:
    net = build().double().eval()

    with refused() as error:
        attribute(net, picture, 0, "attention_rollout")
    assert find_obstacles(net, picture)["attention_rollout"] == str(error.value)
