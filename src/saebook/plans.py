"""What each chapter trains: the methods of a sweep, from a budget."""

from collections.abc import Callable
from types import SimpleNamespace

from saebook.sweep import Data, Method
from saebook.train import Training


def data(budget: SimpleNamespace) -> Data:
    """The text of a budget: which source, how much of it is measured on."""
    return Data(source=budget.source, eval_rows=budget.eval_rows, block=budget.block)


def gated_against_baseline(budget: SimpleNamespace) -> list[Method]:
    """Gated at `d_sae` and the ReLU baseline at `baseline_width` times that: equal training compute (section 3.6)."""

    def training(lr: float) -> Training:
        return Training(lr=lr, tokens=budget.tokens, batch=budget.batch)

    return [
        Method("gated", budget.d_sae, tuple(budget.gated_sparsities), training(budget.gated_lr)),
        Method(
            "relu", round(budget.d_sae * budget.baseline_width), tuple(budget.baseline_sparsities),
            training(budget.baseline_lr),
        ),
    ]  # fmt: skip


# What each notebook trains. A notebook that is not here trains nothing.
PLANS: dict[str, Callable[[SimpleNamespace], list[Method]]] = {
    "gated.fig05_pareto": gated_against_baseline,
    "gated.fig06_shrinkage": gated_against_baseline,
}
