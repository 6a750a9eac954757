"""What the settings of the engine change, as the page on choices shows it (`book.compare` records it)."""

from pathlib import Path
from typing import Any

from saebook.claims import results
from saebook.common.errors import UserError

_WORDS = {
    "bf16": "products in bfloat16, against single precision",
    "plain": "every latent by plain PyTorch, against active latents alone",
}
_METRICS = {"normalised_mse": "normalised MSE", "l0": "L0", "loss_recovered": "loss recovered"}


def tables(tier: str = "cpu") -> str:
    """Every recorded comparison of a tier as Markdown. Raises `UserError` for a damaged one."""
    parts = [_table(file) for file in sorted(results.folder(tier).glob("*/settings_*.json"))]
    return "\n".join(parts) or "No settings have been compared in this copy.\n"


def _table(file: Path) -> str:
    name = f"{file.parent.name}/{file.stem.removeprefix('settings_')}"
    record = results.checked(file)
    try:
        budget, apart = record["parameters"], record["findings"]["apart"]
        lines = [
            f"The widest SAEs of `{name}`, {len(budget['seeds'])} seeds, {budget['tokens']:,} tokens each, on "
            f"{record['device']} on {record['date']}:",
            "",
            "| setting | method | " + " | ".join(_METRICS.values()) + " |",
            "|---|---|" + "---|" * len(_METRICS),
        ]
        for setting, methods in apart.items():
            for method, of in methods.items():
                cells = [_cell(of[metric], metric) for metric in _METRICS]
                lines.append(f"| {_WORDS.get(setting, setting)} | {method} | {' | '.join(cells)} |")
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UserError(f"the comparison {file} is damaged: restore it from git") from None
    return "\n".join(lines) + "\n"


def _cell(of: dict[str, Any], metric: str) -> str:
    """The mean change, of loss recovered in points and of the others in percent, and how many spreads of seeds apart."""
    unit = "points" if metric == "loss_recovered" else "%"
    apart = "no spread" if of["apart"] is None else f"{of['apart']:.2f} spreads"
    return f"{100 * of['change']:+.2f} {unit}, {apart}"
