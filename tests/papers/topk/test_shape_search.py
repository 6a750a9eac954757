"""The search for a dictionary in which latents die follows its rule."""

import pandas as pd

from saebook.papers.topk.shape_search import deadly


def grid(shares):
    rows = [
        {"d_sae": d, "sparsity": float(k), "lr": lr, "seed": seed, "normalised_mse": nmse, "dead": share + 0.01 * seed}
        for (d, k, lr), (nmse, share) in shares.items()
        for seed in (0, 1)
    ]
    return pd.DataFrame(rows)


def test_narrowest_dictionary_with_enough_dead_latents_is_chosen():
    shares = {
        (64, 8, 0.1): (0.2, 0.0), (64, 8, 0.3): (0.3, 0.9), (128, 8, 0.1): (0.2, 0.4), (128, 16, 0.1): (0.2, 0.3),
        (256, 8, 0.1): (0.1, 0.6),
    }  # fmt: skip
    assert deadly(grid(shares)) == {"d_sae": 128, "k": 16, "lr": 0.1}  # latents that die at a bad rate do not count
    few = {key: (nmse, share / 20) for key, (nmse, share) in shares.items()}
    assert deadly(grid(few)) == {"d_sae": 256, "k": 8, "lr": 0.1}
