"""Which chapter shows which figure. A chapter that is not named here gets the usual one if its points are a sweep.

The usual figure is loss against L0, in a panel for each site, layer or width. A chapter whose points are no sweep, or that
`PICTURES` names, shows the picture that its notebook has drawn.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from saebook.evaluation import ito

LOSSES = ("ce_increase", "loss_recovered", "normalised_mse")  # the first that is there
FACETS = ("site", "layer", "d_sae")  # columns whose values have a panel each


@dataclass(frozen=True)
class Drawn:
    """A figure: pairs of columns (across, up), one panel for each and for every combination of values of `facets`.

    Runs of one method that differ in `parts` have a line each. `prepared` brings the points to a row a run, with a column
    `along` whose values the means are taken at. `more` says that the notebook's picture shows something that this does not.
    """

    panels: tuple[tuple[str, str], ...]
    facets: tuple[str, ...] = ()
    parts: str = ""
    more: bool = False
    prepared: Callable[[pd.DataFrame], pd.DataFrame] | None = None


def _frontiers(codes: pd.DataFrame) -> pd.DataFrame:
    rows = ito.frontiers(codes)
    return rows.assign(along=rows.sparsity.where(rows.by == "encoder", rows.target))


_LOSS, _ADDED, _ERROR = ("l0", "loss_recovered"), ("l0", "ce_increase"), ("l0", "normalised_mse")
_BIAS = ("l0", "relative_reconstruction_bias")

FIGURES = {
    "gated/fig05_pareto": Drawn((_LOSS,), more=True),
    "gated/fig06_shrinkage": Drawn((_BIAS,), more=True),
    "gated/fig08_ablations": Drawn((_LOSS,), more=True),
    "gated/fig09_rescale_shift": Drawn((_LOSS, _BIAS)),
    "gated/fig10_ito": Drawn((("own_l0", "loss_recovered"),), facets=("target",), more=True),
    "gated/fig11_ito_frontier": Drawn((_LOSS,), parts="by", more=True, prepared=_frontiers),
    "gated/knob_dead_latents": Drawn((_LOSS, ("l0", "alive"))),
    "gated/knob_thresholded_baseline": Drawn((_LOSS, _BIAS)),
    "topk/fig02_activations": Drawn((_ERROR,), facets=("d_sae",), more=True),
    "topk/fig05_downstream": Drawn((_ADDED,), facets=("d_sae",), more=True),
    "topk/fig09_refinement": Drawn((_ERROR, _ADDED), parts="by", more=True),
    "topk/fig23_probes_kinds": Drawn((("l0", "probe_loss"),), more=True),
    "topk/fig29_layers": Drawn((_ADDED,), facets=("site", "layer"), more=True),
    "topk/knob_batch_topk": Drawn((_ERROR, _ADDED)),
    "e2e/appc_gradient_norm": Drawn((("gradient_norm", "alive_elements"), ("l0", "gradient_norm"))),
    "e2e/fig01_pareto": Drawn((_ADDED, ("alive_elements", "ce_increase"))),
    "e2e/fig05_second_subject": Drawn((_ADDED, ("alive_elements", "ce_increase"))),
    "e2e/fig07_similarity": Drawn(
        (("l0", "similarity"), ("ce_increase", "similarity"), ("alive_elements", "similarity")), more=True
    ),
    "e2e/fig10_tab05_norms": Drawn((("ce_increase", "norm_ratio"), ("ce_increase", "norm_ratio_at_0"))),
    "e2e/fig11_cosines": Drawn((("ce_increase", "cosine"),), more=True),
    "e2e/fig18_seeds": Drawn((_ADDED,), more=True),
    "e2e/knob_encoders": Drawn((_ADDED,), facets=("encoder",)),
}
# Chapters whose points are a sweep and whose figure is about something else.
PICTURES = {
    "topk/fig01_scaling_laws": "error against width and compute, with fitted laws",
}


def drawn(name: str, points: pd.DataFrame) -> Drawn | None:
    """The figure of chapter `name`, whose result has these `points`; None where its picture is shown."""
    if name in PICTURES:
        return None
    figure = FIGURES.get(name) or usual(points)
    if figure is None:
        return None
    needed = {
        "method",
        "seed",
        "sparsity",
        "l0",
        *figure.facets,
        *(column for panel in figure.panels for column in panel),
    }
    needed |= {figure.parts} - {""}
    return figure if needed <= set(points) else None  # a run with parameters of its own may lack some


def usual(points: pd.DataFrame) -> Drawn | None:
    """Loss against L0, where the points are sweeps of at least three strengths and nothing else varies; else None."""
    loss = next((column for column in LOSSES if column in points), None)
    if loss is None or not {"method", "seed", "sparsity", "l0"} <= set(points):
        return None
    facets = tuple(column for column in FACETS if column in points and _varies(points, column))
    if facets == ("layer",) and "site" in points:
        facets = ("site", "layer")
    by = [*facets, "method"]
    alone = not points.duplicated([*by, "seed", "sparsity"]).any()
    long = (points.groupby(by).sparsity.nunique() >= 3).any()
    return Drawn((("l0", loss),), facets=facets) if alone and long else None


def _varies(points: pd.DataFrame, column: str) -> bool:
    """Whether one method has several values of a column."""
    return bool((points.groupby("method")[column].nunique() > 1).any())
