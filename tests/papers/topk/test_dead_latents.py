"""The two remedies against dead latents."""

import pandas as pd
import pytest

from saebook.papers.topk import dead_latents


def test_effects_of_two_remedies_are_separated():
    rows = [
        {"method": name, "seed": seed, "step": step, "dead": (0.6 - 0.3 * transposed - 0.2 * auxk) * step / 10}
        for name, (transposed, auxk) in dead_latents.VARIANTS.items()
        for seed in range(2)
        for step in (0, 10)
    ]
    shares = dead_latents.final_shares(pd.DataFrame(rows))
    assert dead_latents.effect(shares, 0) == pytest.approx([-0.3] * 2) and dead_latents.effect(
        shares, 1
    ) == pytest.approx([-0.2] * 2)
    assert shares["neither"].to_list() == pytest.approx([0.6] * 2)
