"""Methods that change the gradient at ReLUs, on a copy of the network where that is needed to reach all of them."""

import warnings

from torch import Tensor, nn

from analysis.attribution.method import Method
from analysis.attribution.question import Evidence, Question, contrasted, watched
from analysis.attribution.rewriting import copy_sharing_weights


def guided_backprop(question: Question) -> Evidence:
    """The gradient, of which every ReLU lets through only what is positive."""
    with watched(question, 1):
        return Evidence(guide(question))


def deconvolution(question: Question) -> Evidence:
    """The gradient as if every ReLU were applied to what comes back, wherever it was positive on the way there."""
    with watched(question, 1):
        return Evidence(guide(question, "Deconvolution"))


def guide(question: Question, name: str = "GuidedBackprop") -> Tensor:
    """What captum's method of this name gives."""
    import captum.attr

    plain = with_plain_relus(question.copied or question.module)
    with warnings.catch_warnings(), contrasted(plain, question.versus if question.copied else None):
        # On every call captum announces its hooks; it removes them, and a test watches that.
        warnings.filterwarnings("ignore", "Setting backward hooks on ReLU")
        return getattr(captum.attr, name)(plain).attribute(question.inputs, question.target)


def with_plain_relus(module: nn.Module) -> nn.Module:
    """Returns a model that computes the same with nn.ReLU, the only activation that captum's rule changes.

    A model without ReLU6 is returned itself: captum copes with in-place and with reused ReLUs. Otherwise
    in a copy, which shares all weights, each ReLU6 becomes a ReLU followed by that ReLU6: the ReLU applies
    the rule, the ReLU6 then only cuts off at 6.
    """
    if not any(isinstance(part, nn.ReLU6) for part in module.modules()):
        return module
    twin = copy_sharing_weights(module)
    for name, part in list(twin.named_modules(remove_duplicate=False)):
        if isinstance(part, nn.ReLU6):
            twin.set_submodule(name, nn.Sequential(nn.ReLU(), nn.ReLU6()))
    return twin


METHODS = (
    Method(
        name="guided_backprop",
        title="Guided backpropagation",
        explanation="A gradient that drops every negative signal at each ReLU on the way back. "
        "Edges and textures come out crisp. "
        "It often looks alike for every class, so read it as what the network sees, not as why it decided.",
        formula=r"R^l = [a^l > 0] \cdot [R^{l+1} > 0] \cdot R^{l+1}",
        citation="Springenberg et al., Striving for Simplicity, 2014, arXiv:1412.6806",
        run=guided_backprop,
        group="rule",
        needs_relu=True,
    ),
    Method(
        name="deconvolution",
        title="Deconvolution",
        explanation="The signal goes back through the network, and each ReLU drops what is negative in it, "
        "whatever was positive on the way there. "
        "It was made to show what a unit responds to. "
        "It looks much alike for every class, so it does not say why the network decided.",
        formula=r"R^l = [R^{l+1} > 0] \cdot R^{l+1}",
        citation="Zeiler and Fergus, Visualizing and Understanding ConvNets, 2013, arXiv:1311.2901",
        run=deconvolution,
        group="rule",
        needs_relu=True,
    ),
)
"""In the order of a picker."""
