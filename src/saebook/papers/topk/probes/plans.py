"""The plan of the table of tasks, which trains nothing. The SAEs of the other chapters on probes are those of Figure 2."""

from saebook.papers.topk.probes.budgets import BUDGETS
from saebook.training.plan import Plan

PLANS = {"probe_tasks": Plan(BUDGETS["probe_tasks"])}
