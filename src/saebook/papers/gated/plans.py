"""What the chapters of the Gated paper train: typed budgets, and the methods of each sweep."""

from dataclasses import replace

from saebook.common.limits import SiteName
from saebook.papers.gated.budgets import BUDGETS, Ablations, GatedSites, GatedSweep
from saebook.papers.gated.site_rates import BySite
from saebook.subject.model import Site
from saebook.training.loop import TrainConfig
from saebook.training.plan import Plan
from saebook.training.sweep import Method
from saebook.training.tuning import RATES


def against_baseline(budget: GatedSweep | GatedSites, site: Site) -> list[Method]:
    """Gated at `d_sae` and the ReLU baseline at `baseline_width` times that: equal training compute (section 3.6)."""
    return [
        Method(
            "gated", budget.d_sae, budget.gated_sparsities,
            _training(budget, _at(site, budget, "gated", budget.gated_lr)),
        ),
        Method(
            "relu", round(budget.d_sae * budget.baseline_width), budget.baseline_sparsities,
            _training(budget, _at(site, budget, "relu", budget.baseline_lr)),
        ),
    ]  # fmt: skip


def gated_alone(budget: GatedSweep, site: Site) -> list[Method]:
    """The Gated half of the same sweep, for what concerns Gated SAEs only."""
    return against_baseline(budget, site)[:1]


def with_ablations(budget: Ablations, site: Site) -> list[Method]:
    """Gated and the baseline, and Gated with one thing changed, each at its own rate (section 5.1, Figure 8)."""
    rates = {
        "gated_unfrozen": budget.unfrozen_lr, "gated_no_r_mag": budget.no_r_mag_lr, "gated_untied": budget.untied_lr,
    }  # fmt: skip
    return against_baseline(budget, site) + [
        Method(
            architecture,
            budget.d_sae,
            budget.ablation_sparsities,
            _training(budget, _at(site, budget, architecture, lr)),
        )
        for architecture, lr in rates.items()
    ]


def with_and_without_resampling(budget: GatedSweep, site: Site) -> list[Method]:
    """Gated and the baseline as everywhere, and both with dead latents left alone."""
    both = against_baseline(budget, site)
    return both + [
        replace(method, training=replace(method.training, resample_at=()), name=f"{method.architecture}_not_resampled")
        for method in both
    ]


def _at(site: Site, budget: GatedSweep | GatedSites, architecture: str, rate: float | dict[SiteName, float]) -> float:
    """The rate at a site. A type of site for which none was chosen takes the smallest, at which no SAE collapses."""
    if not isinstance(rate, dict):
        if isinstance(budget, GatedSites) or site.kind == budget.site:
            return rate
        own = next((rates for kind, rates in budget.beside.items() if kind == site.kind), {})
        return own.get(architecture, rate)
    return next((chosen for kind, chosen in rate.items() if kind == site.kind), min(rate.values()))


def _training(budget: GatedSweep | GatedSites, lr: float) -> TrainConfig:
    # The paper's beta2 of 0.999 remembers a thousand steps. A run of some hundred never forgets its first gradients with
    # it: steps shrink, a larger rate makes up for that, and then nothing holds a gradient that grows.
    return TrainConfig(lr=lr, tokens=budget.tokens, batch=budget.batch, beta2=budget.beta2)


PLANS = {
    "against_baseline": Plan(BUDGETS["against_baseline"], against_baseline, BySite(rates=RATES)),
    "jumprelu_form": Plan(BUDGETS["jumprelu_form"], gated_alone),
    "human_study": Plan(BUDGETS["human_study"], against_baseline),
    "ablations": Plan(BUDGETS["ablations"], with_ablations, BySite(rates=(3e-3, 5e-3, 1e-2, 1.4e-2, 2e-2))),
    "rescale_shift": Plan(BUDGETS["rescale_shift"], against_baseline, BySite(rates=RATES)),
    "inference_time": Plan(BUDGETS["inference_time"], against_baseline),
    "resampling": Plan(BUDGETS["resampling"], with_and_without_resampling),
    "thresholded_baseline": Plan(BUDGETS["thresholded_baseline"], against_baseline),
    "sites": Plan(BUDGETS["sites"], against_baseline, BySite()),
    "ablation_costs": Plan(BUDGETS["ablation_costs"]),
    "published_tables": Plan(BUDGETS["published_tables"]),
    "shrinkage_toy": Plan(BUDGETS["shrinkage_toy"]),
    "jumprelu_toy": Plan(BUDGETS["jumprelu_toy"]),
    "gradient_routes": Plan(BUDGETS["gradient_routes"]),
}
