"""What each chapter trains: the methods of a sweep, from a budget."""

from collections.abc import Callable
from types import SimpleNamespace

from saebook.analysis.dead import VARIANTS
from saebook.sweep import Data, Method
from saebook.train import Training


def data(budget: SimpleNamespace) -> Data:
    """The text of a budget: which source, how much of it is measured on."""
    return Data(source=budget.source, eval_rows=budget.eval_rows, block=budget.block)


def gated_against_baseline(budget: SimpleNamespace) -> list[Method]:
    """Gated at `d_sae` and the ReLU baseline at `baseline_width` times that: equal training compute (section 3.6)."""
    return [
        Method("gated", budget.d_sae, tuple(budget.gated_sparsities), _training(budget, budget.gated_lr)),
        Method(
            "relu", round(budget.d_sae * budget.baseline_width), tuple(budget.baseline_sparsities),
            _training(budget, budget.baseline_lr),
        ),
    ]  # fmt: skip


def _training(budget: SimpleNamespace, lr: float) -> Training:
    return Training(lr=lr, tokens=budget.tokens, batch=budget.batch)


PER_TOKEN = (("per_token", True),)  # the Top-k paper's inputs: mean removed, same norm


def activation_functions(budget: SimpleNamespace) -> list[Method]:
    """The kinds of the Top-k paper's Figure 2, at every width; the middle sparsities alone where width is the question."""
    kinds = {
        "relu": (budget.sparsities, budget.relu_lr), "prolu_relu": (budget.sparsities, budget.prolu_relu_lr),
        "prolu_ste": (budget.sparsities, budget.prolu_ste_lr), "gated": (budget.sparsities, budget.gated_lr),
        "topk": ([float(k) for k in budget.ks], budget.topk_lr),
    }  # fmt: skip
    return [
        Method(kind, width, tuple(values), _training(budget, lr), PER_TOKEN)
        for width in budget.widths
        for kind, (values, lr) in kinds.items()
    ]


def dead_latents(budget: SimpleNamespace) -> list[Method]:
    """TopK with neither, either and both of the remedies against dead latents (Top-k paper, Figure 15)."""
    found = []
    for name, (transposed, auxk) in VARIANTS.items():
        options = (
            PER_TOKEN + (() if transposed else (("transposed", False),)) + (() if auxk else (("aux_weight", 0.0),))
        )
        found.append(Method("topk", budget.d_sae, (float(budget.k),), _training(budget, budget.lr), options, name))
    return found


# What each notebook trains. A notebook that is not here trains nothing.
PLANS: dict[str, Callable[[SimpleNamespace], list[Method]]] = {
    "gated.fig05_pareto": gated_against_baseline,
    "gated.fig06_shrinkage": gated_against_baseline,
    "topk.fig02_activations": activation_functions,
    "topk.fig05_downstream": activation_functions,
    "topk.fig15_dead_latents": dead_latents,
}
