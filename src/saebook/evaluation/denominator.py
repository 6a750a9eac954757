"""The denominator of loss recovered: what it costs a language model that a site's activations are replaced by zeros."""

import torch
from torch import Tensor

from saebook.evaluation.metrics import summed_loss
from saebook.subject.model import Site, Subject

_ROWS = 32  # rows a pass


@torch.inference_mode()
def zero_ablation_cost(subject: Subject, site: Site, rows: Tensor, skip: int = 0) -> float:
    """CE_ablated - CE_clean on `rows` [N, T], in nats per predicted token (Gated paper, section 2.3).

    The first `skip` positions of a row keep their activations and count nowhere, as in `metrics.measure`.
    """
    cost = torch.zeros((), dtype=torch.float64, device=subject.device)
    for batch in rows.split(_ROWS):
        intervention = subject.intervene(batch, site)
        x = intervention.activations[:, skip:].flatten(0, 1)
        clean, ablated = summed_loss(intervention, torch.stack([x, torch.zeros_like(x)]), skip)
        cost += ablated - clean
    return cost.item() / (len(rows) * (rows.shape[1] - 1 - skip))
