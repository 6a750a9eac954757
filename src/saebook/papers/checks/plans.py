"""What the chapters that check the tools need: a typed budget."""

from saebook.common.budget import Count, NotNegative, Number, Several, Share, SiteBudget, Width
from saebook.training.plan import Plan


class Planted(SiteBudget):
    """Dictionaries of `elements` directions in `width` dimensions whose every metric is known before it is measured."""

    tokens: Count
    elements: Width
    width: Width
    planted_l0s: Several[Width]
    shrinkages: Several[Share]
    dead_shares: Several[Share]
    angles: Several[NotNegative]
    factors: Several[Number]


PLANS = {"planted": Plan(Planted)}
