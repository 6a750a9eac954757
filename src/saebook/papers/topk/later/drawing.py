"""The figure of the comparison with later architectures."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from saebook.plotting.curves import log_curve
from saebook.plotting.style import L0_AXIS, finished, methods, style


def error_and_loss(table: pd.DataFrame) -> Figure:
    """Normalised MSE (left) and added cross-entropy (right) against L0, one line an architecture, of a sweep at one width."""
    style()
    figure, panels = plt.subplots(1, 2, figsize=(9, 4.4), layout="constrained")
    for panel, (column, name) in zip(
        panels, {"normalised_mse": "normalised MSE", "ce_increase": "added nats per token"}.items(), strict=True
    ):
        for method in methods(table):
            log_curve(panel, table[table.method == method], "sparsity", "l0", column, method)
        panel.set(xlabel=L0_AXIS, ylabel=name)
    return finished(figure, panels[0], 3)
