"""What the chapters on token patterns train: SAEs of Figure 2, and nothing else."""

from collections.abc import Sequence

from saebook.training.config import Method


def of_figure_2(methods: Sequence[Method]) -> list[Method]:
    """Of Figure 2's `methods`, TopK at every width and ReLU at the widest."""
    widest = max(method.d_sae for method in methods)
    return [m for m in methods if m.architecture == "topk" or (m.architecture == "relu" and m.d_sae == widest)]
