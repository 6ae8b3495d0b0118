"""Forty years in one table, and as points: what networks cost and how often they are wrong."""

import json

from lab.learning.history import MILESTONES
from ui.learn.bench import Bench, browser_bench
from ui.services import Services
from ui.workbench import Workbench


def build_history(services: Services, bench: Workbench) -> Bench:
    """Lays it out; nothing is computed."""
    browser_bench("history", json.dumps([milestone.to_json() for milestone in MILESTONES]))
    return Bench()
