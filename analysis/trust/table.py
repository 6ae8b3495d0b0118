"""The numbers of a trust table, and what each of them says."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """One column.

    Attributes:
        explanation: What it says, in plain words.
        better: ``high`` or ``low``; empty where neither is better.
        low: The smallest value that there can be; None without a bound.
        source: Who defined it.
    """

    name: str
    title: str
    explanation: str
    better: str
    low: float | None
    high: float | None
    source: str


_TABLE = (
    Metric(
        name="deletion",
        title="Deletion",
        explanation="The mean probability of the class while the strongest pixels of the map are removed first. "
        "Low: the class is lost as soon as they are gone.",
        better="low",
        low=0.0,
        high=1.0,
        source="Petsiuk et al., RISE, 2018, arXiv:1806.07421",
    ),
    Metric(
        name="insertion",
        title="Insertion",
        explanation="The mean probability of the class while the strongest pixels are put back into a blurred "
        "picture. High: few of them are enough.",
        better="high",
        low=0.0,
        high=1.0,
        source="Petsiuk et al., RISE, 2018, arXiv:1806.07421",
    ),
    Metric(
        name="average_drop",
        title="Average drop",
        explanation="The share of the probability that is lost when the picture fades away wherever the map is weak. "
        "Low: what the map shows is enough.",
        better="low",
        low=0.0,
        high=1.0,
        source="Chattopadhay et al., Grad-CAM++, 2018, arXiv:1710.11063",
    ),
    Metric(
        name="increase",
        title="Increase in confidence",
        explanation="Whether the class becomes more probable in that faded picture; over many, how often.",
        better="high",
        low=0.0,
        high=1.0,
        source="Chattopadhay et al., Grad-CAM++, 2018, arXiv:1710.11063",
    ),
    Metric(
        name="infidelity",
        title="Infidelity",
        explanation="How badly the map, scaled as well as it can be, foretells how the score falls when random "
        "parts of the picture are covered, in squared logits. Zero: it foretells all of them.",
        better="low",
        low=0.0,
        high=None,
        source="Yeh et al., On the (In)fidelity and Sensitivity of Explanations, 2019, arXiv:1901.09392",
    ),
    Metric(
        name="infidelity_share",
        title="Infidelity, as a share",
        explanation="The same as a share of the squared drops, which can be compared between pictures and models. "
        "One: the map foretells nothing.",
        better="low",
        low=0.0,
        high=1.0,
        source="Yeh et al., On the (In)fidelity and Sensitivity of Explanations, 2019, arXiv:1901.09392",
    ),
    Metric(
        name="sensitivity",
        title="Sensitivity",
        explanation="The largest change of the map when noise that nobody sees is added to the picture, as a share "
        "of the map. High: another picture that looks the same has another explanation.",
        better="low",
        low=0.0,
        high=None,
        source="Yeh et al., On the (In)fidelity and Sensitivity of Explanations, 2019, arXiv:1901.09392",
    ),
    Metric(
        name="completeness_gap",
        title="Completeness gap",
        explanation="How far the map is from adding up to the difference in score that it promises to add up to. "
        "Only methods that promise it have one.",
        better="low",
        low=0.0,
        high=None,
        source="Sundararajan et al., Axiomatic Attribution for Deep Networks, 2017, arXiv:1703.01365",
    ),
    Metric(
        name="moves_with_picture",
        title="Moves with the picture",
        explanation="How much the map of the shifted picture looks like the shifted map: their mean correlation. "
        "One: the map moves along. Near zero: a picture moved by some pixels has an unrelated explanation.",
        better="high",
        low=-1.0,
        high=1.0,
        source="here; the shifts and boundary rules are those of docs/equivariance.md",
    ),
    Metric(
        name="sanity",
        title="Sanity check",
        explanation="The rank correlation of the map with that of a network whose upper layers were given random "
        "weights. Above 0.7 it fails: the map shows the picture rather than what was learned.",
        better="low",
        low=-1.0,
        high=1.0,
        source="Adebayo et al., Sanity Checks for Saliency Maps, 2018, arXiv:1810.03292",
    ),
    Metric(
        name="seconds",
        title="Seconds",
        explanation="How long this one map took.",
        better="low",
        low=0.0,
        high=None,
        source="",
    ),
)

METRICS: dict[str, Metric] = {metric.name: metric for metric in _TABLE}
