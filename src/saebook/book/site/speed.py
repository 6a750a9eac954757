"""The page on speed: tables, targets and an answer in words, from the recorded benchmarks in data/benchmarks.

A section that was never recorded is said to be missing, so that the book builds from a clean clone.
"""

import math
from pathlib import Path
from typing import Any

import pandas as pd

from saebook.book.site import learning_figures
from saebook.book.site.rate_grids import markdown_table
from saebook.book.site.targets import KINDS, LIBRARY, OURS, SHAPE, Recorded, answer, read, targets

_SECTIONS = ("steps", "sweep", "e2e", "evaluation", "learning", "scaling", "floor", "book")


def parts(home: Path) -> dict[str, str]:
    """The generated parts of the page by file name; figures are written into `home`."""
    kept = {section: recorded for section in _SECTIONS if (recorded := read(section)) is not None}
    made = {
        "speed_answer.md": answer(kept), "speed_targets.md": _targets_table(kept), "speed_steps.md": _steps(kept),
        "speed_sweep.md": _plain(kept, "sweep"), "speed_e2e.md": _plain(kept, "e2e"),
        "speed_evaluation.md": _plain(kept, "evaluation"), "speed_learning.md": _learning(kept, home),
        "speed_growth.md": _growth(kept, home), "speed_floor.md": _floor(kept), "speed_machine.md": _machine(kept),
    }  # fmt: skip
    return made


def missing(section: str) -> str:
    """What stands in place of a section that was not recorded."""
    return f'Nothing is recorded here yet: run `make bench SECTIONS="{section} --record"`.\n'


def _targets_table(kept: dict[str, Recorded]) -> str:
    held = targets(kept)
    if not held:
        return missing("steps")
    rows = [
        [
            t.what,
            f"{'below' if t.below else 'at least'} {t.wanted:g}",
            f"{t.value:.2f}",
            "met" if t.met else f"**missed**: {t.limit}",
        ]
        for t in held
    ]
    return markdown_table(["what", "target", "measured", ""], rows)


# Tables -----------------------------------------------------------------------------------------------------------


def _steps(kept: dict[str, Recorded]) -> str:
    if "steps" not in kept:
        return missing("steps")
    rows = kept["steps"].rows
    made = []
    for threads in sorted(rows.threads.unique(), reverse=True):
        for kind, label in KINDS.items():
            of = rows[(rows.threads == threads) & (rows.kind == kind)]
            if len(of):
                made += [f"**{label}, {_threads(int(threads))}.**\n", _ratio_table(of)]
    of = rows[rows.threads == rows.threads.max()]
    made += ["Peak memory of training, beyond the library as it is loaded, in MB:\n", _memory_table(of)]
    return "\n".join(made)


def _ratio_table(rows: pd.DataFrame) -> str:
    """Shapes down, settings across: time over ours with its range; the fastest other setting in bold."""
    settings = [name for name in dict.fromkeys(rows.setting) if name != OURS]
    lines = []
    for shape, of in rows.groupby(SHAPE, sort=False):
        by_setting = of.set_index("setting")
        others = of[of.library != LIBRARY]
        best = others.sort_values("seconds").setting.iloc[0] if len(others) else None
        speed = f"{by_setting.loc[OURS, 'tokens_per_second']:,.0f}" if OURS in by_setting.index else "failed"
        levels = f"{of.l0.min():.1f} to {of.l0.max():.1f}"
        cells = [
            _ratio(by_setting.loc[name], name == best) if name in by_setting.index else "failed" for name in settings
        ]
        lines.append(["/".join(str(part) for part in _tuple(shape)), levels, speed, *cells])
    return markdown_table(["d_in/d_sae/k/batch", "L0 of all", "saebook, tokens a second", *settings], lines)


def _ratio(row: pd.Series, best: bool) -> str:
    if math.isnan(row.ratio):
        return "–"
    text = f"{row.ratio:.2f} ({row.ratio_low:.2f} to {row.ratio_high:.2f})"
    return f"**{text}**" if best else text


def _memory_table(rows: pd.DataFrame) -> str:
    settings = list(dict.fromkeys(rows.setting))
    lines = []
    for key, of in rows.groupby(["kind", *SHAPE], sort=False):
        kind, *shape = _tuple(key)
        memory = of.set_index("setting").memory
        cells = [f"{memory[name] / 1e6:,.0f}" if name in memory.index else "–" for name in settings]
        lines.append([f"{KINDS[str(kind)]}, {'/'.join(map(str, shape))}", *cells])
    return markdown_table(["step", *settings], lines)


def _plain(kept: dict[str, Recorded], section: str) -> str:
    """A section with one row a setting."""
    if section not in kept:
        return missing(section)
    columns = {
        "batch": "batch", "saes": "SAEs", "tokens": "tokens", "setting": "setting", "seconds": "seconds", "ratio": "over saebook",
        "memory": "memory, MB", "l0": "L0", "normalised_mse": "normalised MSE", "ce": "loss with the SAE", "kl": "KL",
    }  # fmt: skip
    rows = kept[section].rows
    shown = {name: label for name, label in columns.items() if name in rows}
    lines = [[_cell(name, row) for name in shown] for _, row in rows.iterrows()]
    return markdown_table(list(shown.values()), lines)


def _cell(name: str, row: pd.Series) -> str:
    value = row[name]
    if name == "ratio":
        return _ratio(row, False)
    if name == "memory":
        return f"{value / 1e6:,.0f}"
    if name == "setting":
        return str(value)
    if name in ("batch", "saes", "tokens"):
        return f"{int(value):,}"
    return f"{value:.4g}"


def _learning(kept: dict[str, Recorded], home: Path) -> str:
    if "learning" not in kept:
        return missing("learning")
    rows = kept["learning"].rows
    learning_figures.learning(rows, KINDS).savefig(home / "speed_learning.png")
    final = rows.sort_values("step").groupby(["kind", "setting"], sort=False).tail(1)
    spread = [
        f"{KINDS[kind]} {of.normalised_mse.min():.4f} to {of.normalised_mse.max():.4f}"
        for kind in KINDS
        if len(of := final[final.kind == kind])
    ]
    alt = f"Held-out error against steps, one curve a setting; at the last step {'; '.join(spread)}."
    lines = [
        [
            KINDS[str(row.kind)],
            row.setting,
            f"{row.normalised_mse:.4f}",
            f"{row.l0:.1f}",
            f"{row.dead:.1%}",
            f"{row.seconds:.1f}",
        ]
        for row in final.sort_values(["kind", "normalised_mse"]).itertuples()
    ]
    table = markdown_table(
        ["architecture", "setting", "normalised MSE", "L0", "silent latents", "seconds of steps"], lines
    )
    return f"{_figure('speed_learning.png', alt, 'Error on held-out activations, by step and by time.')}\n{table}"


def _growth(kept: dict[str, Recorded], home: Path) -> str:
    if "scaling" not in kept:
        return missing("scaling")
    rows = kept["scaling"].rows
    learning_figures.growth(rows, KINDS).savefig(home / "speed_growth.png")
    wide = rows[rows.varied == "d_sae"]
    drops = [
        f"{KINDS[kind]} from {of.tokens_per_second.iloc[0]:,.0f} to {of.tokens_per_second.iloc[-1]:,.0f}"
        for kind in KINDS
        if len(of := wide[wide.kind == kind].sort_values("value"))
    ]
    alt = (
        "Tokens per second and SAE against batch, members and width; from the narrowest to the widest dictionary "
        f"{'; '.join(drops)}."
    )
    return _figure("speed_growth.png", alt, "Tokens a second, summed over the SAEs of a stack, of saebook alone.")


def _floor(kept: dict[str, Recorded]) -> str:
    if "floor" not in kept:
        return missing("floor")
    rows = kept["floor"].rows
    lines = [
        [
            f"{KINDS[str(r.kind)]}, {r.d_in}/{r.d_sae}/{r.k}/{r.batch}", f"{1e3 * r.products:.2f}", f"{1e3 * r.bytes:.2f}",
            f"{1e3 * r.seconds:.2f}", f"{r.over_floor:.1f}", f"{r.gflops_fp32:,.0f}", f"{r.gflops_bf16:,.0f}",
        ]
        for _, r in rows.iterrows()
    ]  # fmt: skip
    precision, speed = rows.precision.iloc[0], rows.gbytes.iloc[0]
    header = ["step", "products, ms", "bytes, ms", "measured, ms", "times its floor", "GFLOP/s fp32", "GFLOP/s bf16"]
    return (
        f"A copy moves {speed:.1f} GB/s here, and the encoder's product is computed in {precision}.\n\n"
        + markdown_table(header, lines)
    )


def _machine(kept: dict[str, Recorded]) -> str:
    """Machine, versions, and what did not run, of every recorded section."""
    if not kept:
        return "No benchmark is recorded in this copy.\n"
    lines = []
    for section, recorded in kept.items():
        about = recorded.about
        lines.append(
            [
                section,
                about["machine"],
                _threads(about["threads"]),
                f"{about['load_before']:.1f}",
                f"{about['seconds']:.0f}",
                about["date"],
            ]
        )
    versions: dict[str, dict[str, str]] = {}
    for recorded in kept.values():
        versions |= recorded.about["versions"]
    names = [[home, ", ".join(f"{name} {version}" for name, version in of.items())] for home, of in versions.items()]
    failed = {what: reason for recorded in kept.values() for what, reason in recorded.about["did_not_run"].items()}
    tables = [
        markdown_table(["section", "processor", "threads", "load before", "seconds", "date"], lines),
        markdown_table(["environment", "versions"], names),
    ]
    if failed:
        tables += ["What did not run:\n", markdown_table(["what", "why"], [[a, b] for a, b in failed.items()])]
    else:
        tables += ["Every setting ran.\n"]
    return "\n".join(tables)


def _figure(file: str, alt: str, caption: str) -> str:
    return f"```{{figure}} _generated/{file}\n:alt: {alt}\n\n{caption}\n```\n"


def _threads(count: int) -> str:
    return f"{count} thread{'s' * (count > 1)}"


def _tuple(key: Any) -> tuple:
    return key if isinstance(key, tuple) else (key,)
