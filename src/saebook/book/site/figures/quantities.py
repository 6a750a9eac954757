"""What a reader sees of a column of the points: its name, its axis, and its values rounded as far as they mean something."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from saebook.papers.gated.drawing import by_site
from saebook.plotting import style
from saebook.sae import registry


@dataclass(frozen=True)
class Quantity:
    """A measured column: its `label`, whether its axis is logarithmic, which direction is `better`, if any, and its name in text."""

    label: str
    log: bool = False
    better: Literal["more", "less", ""] = ""
    short: str = ""

    @property
    def name(self) -> str:
        return self.short or self.label


QUANTITIES = {
    "l0": Quantity("L0 (active latents per token)", log=True, short="L0"),
    "own_l0": Quantity("L0 of the SAE itself", log=True),
    "loss_recovered": Quantity("loss recovered", better="more"),
    "ce_increase": Quantity("added loss (nats per token)", log=True, better="less", short="added loss"),
    "normalised_mse": Quantity("normalised MSE", log=True, better="less"),
    "relative_reconstruction_bias": Quantity("relative reconstruction bias"),
    "alive": Quantity("share of latents alive", short="alive"),
    "alive_elements": Quantity("alive latents", log=True),
    "gradient_norm": Quantity("gradient norm", log=True),
    "similarity": Quantity("mean largest cosine within an SAE"),
    "norm_ratio": Quantity("norm of reconstruction over activation"),
    "norm_ratio_at_0": Quantity("norm of reconstruction over activation, position 0"),
    "cosine": Quantity("mean cosine of reconstruction and activation"),
    "probe_loss": Quantity("mean probe loss (nats)", better="less"),
}


def facet(column: str, value: Any) -> str:
    """What a panel is about, of which the figure has one for each value of a column."""
    words = {
        "site": lambda: by_site.LOOKS[value][0], "layer": lambda: f"layer {value}", "d_sae": lambda: f"{value:,} latents",
        "encoder": lambda: registry.label(value), "sparsity": lambda: f"k {value:g}",
        "target": lambda: f"codes optimised to L0 {value}" if value else "codes of the encoder",
    }  # fmt: skip
    return words[column]()


def shown(value: float) -> str:
    """A number with three significant digits, and four near one where the third changes nothing."""
    if not math.isfinite(value):
        return "none"
    if 0.95 <= abs(value) < 1:
        return f"{value:.4f}"
    digits = max(0, 2 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.{min(digits, 6)}f}"


def strength(table: pd.DataFrame) -> str:
    """What the column `sparsity` of one method's runs is: k where L0 grows with it, else a penalty's coefficient."""
    varies = table.sparsity.nunique() > 1 and table.l0.nunique() > 1
    return "k" if varies and table.sparsity.corr(table.l0, method="spearman") > 0 else "λ"


def run_words(run: Any, columns: tuple[str, ...], of_strength: str) -> str:
    """A run in a line: seed and strength of the penalty, then the quantities of `columns`, and its key."""
    strong = (
        [] if math.isnan(run.sparsity) else [f"{of_strength} {run.sparsity:g}"]
    )  # of another's SAE it may be unsaid
    words = [f"seed {run.seed}", *strong]
    for column in dict.fromkeys(("l0", *columns, "alive")):
        if hasattr(run, column):
            value = getattr(run, column)
            text = f"{100 * value:.0f} %" if column == "alive" else shown(value)
            words.append(f"{QUANTITIES[column].name} {text}")
    if isinstance(getattr(run, "key", None), str):
        words.append(f"key {run.key}")
    return ", ".join(words)


def named(table: pd.DataFrame) -> pd.DataFrame:
    """The runs of a figure as a table for readers: human names, and no column that says nothing."""
    kept = [
        c
        for c in ("method", "by", "site", "layer", "encoder", "d_sae", "seed", "sparsity", *QUANTITIES, "key")
        if c in table
    ]
    names = {c: quantity.label for c, quantity in QUANTITIES.items()} | {
        "by": "code", "d_sae": "latents", "sparsity": "k or λ", "l0": "L0", "own_l0": "L0 of the SAE",
    }  # fmt: skip
    words = {"method": lambda m: style.look(m).label, "site": lambda s: by_site.LOOKS[s][0], "encoder": registry.label}
    said = table[kept].assign(**{c: table[c].map(say) for c, say in words.items() if c in table})
    return said.rename(columns=names)
