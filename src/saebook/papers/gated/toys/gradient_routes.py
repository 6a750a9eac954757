"""The parameters that each loss term reaches (Gated paper, Figures 16 and 17), by autograd and compared with the paper.

A *slot* is one use of a parameter in the equations: Gated uses b_dec twice (to centre the input, to shift the output) and
its encoder twice (for the gate, for the magnitude). The plain loss is written here with a leaf of its own for every slot
and nothing frozen. Stopping a gradient then means leaving slots out, and the paper's rule is a table of those that stay.
Letters: B batch, D d_in, M d_sae; stacks are of one member.
"""

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from saebook.common.errors import UserError
from saebook.papers.gated.budgets import GradientRoutes
from saebook.sae import registry
from saebook.sae.base import Member, SAEStack
from saebook.sae.gated import Gated
from saebook.sae.losses import Losses

Slots = dict[str, Tensor]
_TOLERANCE = 1e-9  # relative, in float64


@dataclass(frozen=True)
class Rule:
    """The paper's rules for one architecture: `terms` of the unfrozen loss on slots, `uses` (slot -> parameter), `reaches` (term -> slots)."""

    terms: Callable[[Slots, Tensor, float], dict[str, Tensor]]
    uses: dict[str, str]
    reaches: dict[str, tuple[str, ...]]


def _relu_terms(s: Slots, x: Tensor, penalty: float) -> dict[str, Tensor]:
    f = ((x - s["b_dec in"]) @ s["W_enc"] + s["b_enc"]).relu()
    return {
        "reconstruction": (f @ s["W_dec"] + s["b_dec out"] - x).square().sum(-1).mean(),
        "sparsity": penalty * f.sum(-1).mean(),
    }


def _gated_terms(s: Slots, x: Tensor, penalty: float) -> dict[str, Tensor]:
    centred = x - s["b_dec in"]
    gate = centred @ s["W_enc gate"] + s["b_gate"]
    f = (gate > 0) * (s["r_mag"].exp() * (centred @ s["W_enc magnitude"]) + s["b_mag"]).relu()
    return {
        "reconstruction": (f @ s["W_dec"] + s["b_dec out"] - x).square().sum(-1).mean(),
        "sparsity": penalty * gate.relu().sum(-1).mean(),
        "auxiliary": (gate.relu() @ s["W_dec"] + s["b_dec out"] - x).square().sum(-1).mean(),
    }


_GATE = ("W_enc gate", "b_gate", "b_dec in")
_MAGNITUDE = ("W_enc magnitude", "r_mag", "b_mag", "b_dec in")
_DECODER = ("W_dec", "b_dec out")

RULES = {
    "relu": Rule(
        _relu_terms,
        {"W_enc": "W_enc", "b_enc": "b_enc", "W_dec": "W_dec", "b_dec in": "b_dec", "b_dec out": "b_dec"},
        {"reconstruction": ("W_enc", "b_enc", "b_dec in", *_DECODER), "sparsity": ("W_enc", "b_enc", "b_dec in")},
    ),
    "gated": Rule(
        _gated_terms,
        {
            "W_enc gate": "W_enc", "W_enc magnitude": "W_enc", "b_gate": "b_gate", "r_mag": "r_mag", "b_mag": "b_mag",
            "W_dec": "W_dec", "b_dec in": "b_dec", "b_dec out": "b_dec",
        },
        # The gate is a step, so the reconstruction sends nothing through it; the auxiliary term's decoder is a frozen copy.
        {"reconstruction": _MAGNITUDE + _DECODER, "sparsity": _GATE, "auxiliary": _GATE},
    ),
}  # fmt: skip


def routes(architecture: str, stack: SAEStack, x: Tensor) -> pd.DataFrame:
    """One row per loss term and parameter of a float64 `stack` of one, on `x` [B, D]: columns term, parameter, paper, found, right, norm.

    `paper` and `found` name the slots by which the term reaches the parameter ("-": by none). What was found is the set of
    slots whose gradients add up to autograd's, or "something else" when none does. `norm` is that of autograd's gradient.
    """
    rule, lines = RULES[architecture], []
    own = _own(stack, x)
    for term, parts in _slots(rule, stack, x).items():
        for parameter in dict.fromkeys(rule.uses.values()):
            slots = [slot for slot in parts if rule.uses[slot] == parameter]
            paper = tuple(slot for slot in slots if slot in rule.reaches[term])
            gradient = own[term][parameter]
            open_slots = _explained(gradient, {slot: parts[slot] for slot in slots})
            lines.append(
                {
                    "term": term, "parameter": parameter, "paper": _named(paper), "found": _named(open_slots),
                    "right": open_slots == paper, "norm": float(gradient.norm()),
                }
            )  # fmt: skip
    return pd.DataFrame(lines)


def _slots(rule: Rule, stack: SAEStack, x: Tensor) -> dict[str, dict[str, Tensor]]:
    """For each term of the unfrozen loss, the gradient of every slot that it uses."""
    leaves = {slot: getattr(stack, name)[0].detach().clone().requires_grad_() for slot, name in rule.uses.items()}
    reached = {}
    for term, value in rule.terms(leaves, x, stack.sparsity[0]).items():
        gradients = torch.autograd.grad(value, list(leaves.values()), retain_graph=True, allow_unused=True)
        reached[term] = {slot: g for slot, g in zip(leaves, gradients, strict=True) if g is not None}
    return reached


def _own(stack: SAEStack, x: Tensor) -> dict[str, dict[str, Tensor]]:
    """For each term of the stack's own `loss`, autograd's gradient of every parameter; zeros where it reaches nothing."""
    parameters = dict(stack.named_parameters())
    reached = {}
    for term, value in stack.loss(x).terms.items():
        gradients = torch.autograd.grad(value.sum(), list(parameters.values()), retain_graph=True, allow_unused=True)
        reached[term] = {
            name: torch.zeros_like(p[0]) if g is None else g[0]
            for (name, p), g in zip(parameters.items(), gradients, strict=True)
        }
    return reached


def _explained(gradient: Tensor, parts: Slots) -> tuple[str, ...] | None:
    """The slots whose gradients add up to `gradient`, the fewest that do; None when no choice of them does."""
    scale = max([gradient.norm(), *(part.norm() for part in parts.values())])
    for count in range(len(parts) + 1):
        for chosen in itertools.combinations(parts, count):
            if (gradient - sum(parts[slot] for slot in chosen)).norm() <= _TOLERANCE * scale:
                return chosen
    return None


def _named(slots: tuple[str, ...] | None) -> str:
    return "something else" if slots is None else " + ".join(slots) or "-"


def table(routes: pd.DataFrame, column: str = "found") -> pd.DataFrame:
    """A `routes` table with a row per parameter and a column per loss term."""
    return routes.pivot(index="parameter", columns="term", values=column).reindex(
        index=routes.parameter.unique(), columns=routes.term.unique()
    )


def trial(architecture: str, budget: GradientRoutes, seed: int, fault: str = "") -> tuple[SAEStack, Tensor]:
    """A float64 stack of one with random parameters, and random activations [B, D]; with a `fault`, Gated with that planted.

    Raises `UserError` for a fault that is none.
    """
    if fault and fault not in FAULTS:
        raise UserError(f"no fault is called '{fault}': use one of {', '.join(FAULTS)}")
    generator = torch.Generator().manual_seed(seed)
    members = (Member(seed, 1.0),)
    make = FAULTS[fault] if fault else registry.get(architecture)
    stack = make(budget.d_in, budget.d_sae, members, dtype=torch.float64)
    for parameter in stack.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return stack, torch.randn(budget.batch, budget.d_in, generator=generator, dtype=torch.float64)


def wrong_routes(architecture: str, budget: GradientRoutes, fault: str = "") -> list[float]:
    """The number of pairs of term and parameter that differ from the paper, one count per seed."""
    return [
        float((~routes(architecture, *trial(architecture, budget, seed, fault)).right).sum()) for seed in budget.seeds
    ]


def hand_written(architecture: str, budget: GradientRoutes) -> list[float]:
    """The largest difference between the training loop's own gradients and the sum of the paper's routes, relative, per seed."""
    differences = []
    for seed in budget.seeds:
        stack, x = trial(architecture, budget, seed)
        rule, parts = RULES[architecture], _slots(RULES[architecture], stack, x)
        stack.step_gradients(x)
        for name, parameter in stack.named_parameters():
            reaching = [
                (term, slot) for term, slots in rule.reaches.items() for slot in slots if rule.uses[slot] == name
            ]
            wanted = functools.reduce(torch.add, (parts[term][slot] for term, slot in reaching))
            assert parameter.grad is not None
            differences.append((seed, float((parameter.grad[0] - wanted).norm() / wanted.norm())))
    return [max(off for one, off in differences if one == seed) for seed in budget.seeds]


def parameters_per_latent(budget: GradientRoutes) -> list[float]:
    """Parameters that Gated has beyond a baseline of the same width, per latent (section 3.2), at one, two and four times `d_sae`."""
    extra = []
    for d_sae in (budget.d_sae, 2 * budget.d_sae, 4 * budget.d_sae):
        size = budget.model_copy(update={"d_sae": d_sae, "batch": 1})
        gated, relu = (
            sum(p.numel() for p in trial(architecture, size, 0)[0].parameters()) for architecture in ("gated", "relu")
        )
        extra.append((gated - relu) / d_sae)
    return extra


# Planted faults: Gated as it is easily written wrong ------------------------------------------------------------------


class _Faulty(Gated):
    """Gated's loss (Eq. 8) with places to go wrong: what the auxiliary decode takes, what is centred with, what is penalised."""

    def _frozen(self) -> tuple[Tensor, Tensor]:
        return self.W_dec.detach(), self.b_dec.detach()

    def _centred(self, x: Tensor) -> Tensor:
        return x - self.b_dec[:, None]

    def _penalised(self, via_gate: Tensor, f: Tensor) -> Tensor:
        return via_gate

    def loss(self, x: Tensor, dead=None) -> Losses:
        h = torch.bmm(self._centred(x), self.W_enc)
        f = self.encode(x)
        via_gate = (h + self.b_gate[:, None]).relu()
        W_dec, b_dec = self._frozen()
        terms = {
            "reconstruction": (self.decode(f) - x).square().sum(-1).mean(-1),
            "sparsity": h.new_tensor(self.sparsity) * self._penalised(via_gate, f).sum(-1).mean(-1),
            "auxiliary": (torch.baddbmm(b_dec[:, None], via_gate, W_dec) - x).square().sum(-1).mean(-1),
        }
        return Losses.of(terms, f > 0)


class _UnfrozenDecoder(_Faulty):
    def _frozen(self):
        return self.W_dec, self.b_dec


class _UnfrozenBias(_Faulty):
    def _frozen(self):
        return self.W_dec.detach(), self.b_dec


class _DetachedCentring(_Faulty):
    def _centred(self, x: Tensor) -> Tensor:
        return x - self.b_dec[:, None].detach()


class _PenalisedMagnitude(_Faulty):
    def _penalised(self, via_gate: Tensor, f: Tensor) -> Tensor:
        return f


# what is planted -> Gated with it; the first is sound, and must show no wrong route
FAULTS: dict[str, type[Gated]] = {
    "nothing": _Faulty,
    "decoder not frozen": _UnfrozenDecoder,
    "only its bias not frozen": _UnfrozenBias,
    "centring without gradient": _DetachedCentring,
    "penalty on the output": _PenalisedMagnitude,
}
