"""What the chapters beyond the papers train: nothing of their own."""

from saebook.papers.beyond.budgets import BUDGETS
from saebook.papers.gated.plans import against_baseline
from saebook.training.plan import Plan

PLANS = {"features": Plan(BUDGETS["features"], against_baseline)}
