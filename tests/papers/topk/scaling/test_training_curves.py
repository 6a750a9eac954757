"""Training curves: the auxiliary term comes off, envelopes and tokens to convergence are those that were planted."""

import math

import numpy as np
import pandas as pd
import pytest

from saebook.common.errors import UserError
from saebook.evaluation.scaling_law import PowerLaw
from saebook.papers.topk.scaling import training_curves


def history(law, width=64, seed=0, steps=1000, dead_from=10**9, noise=0.0):
    step = np.arange(0, steps + 1, 20)
    dead = np.where(step >= dead_from, 0.1, 0.0)
    error = law(np.maximum(step, 1) * 256.0) * np.exp(noise * np.random.default_rng(seed).normal(size=len(step)))
    about = {"method": "topk", "d_sae": width, "sparsity": 16.0, "seed": seed}
    return pd.DataFrame({"step": step, "loss": error + (dead > 0) / 32, "dead": dead}).assign(**about)


def curves(laws, seeds=2, noise=0.0):
    parts = [history(law, width, seed, noise=noise) for width, law in laws.items() for seed in range(seeds)]
    return training_curves.with_smooth(training_curves.errors(pd.concat(parts), 256, 1 / 32))


LAW = PowerLaw(0.2, 10.0, -0.5)


def test_auxiliary_term_comes_off_once_a_latent_is_dead():
    read = training_curves.errors(history(LAW, dead_from=500), 256, 1 / 32)
    assert read.error.to_list() == pytest.approx(LAW(read.tokens).tolist()) and read.tokens.min() == 20 * 256
    kept = training_curves.errors(history(LAW, dead_from=500), 256, 0.0)
    assert kept.error.iloc[-1] == pytest.approx(read.error.iloc[-1] + 1 / 32)


def test_smoothing_takes_noise_away_and_leaves_a_law():
    clean, noisy = curves({64: LAW}, seeds=1), curves({64: LAW}, seeds=1, noise=0.05)
    assert np.abs(np.log(clean.smooth / clean.error)).max() < 0.02
    late = noisy.tokens > 50_000
    rough = np.log(noisy.error / LAW(noisy.tokens))[late].std()
    assert np.log(noisy.smooth / LAW(noisy.tokens))[late].std() < 0.65 * rough


def test_planted_tokens_to_convergence_and_their_exponent_are_read_back():
    epsilon = 0.05
    planted = {width: PowerLaw(0.2, 10.0 * (width / 64) ** 0.3, -0.5) for width in (64, 128, 256)}
    reached = training_curves.convergence_by_width(curves(planted), epsilon)
    for one in reached.itertuples():
        law = planted[one.d_sae]
        assert law(2 * one.tokens) / law(one.tokens) == pytest.approx(1 - epsilon, abs=1e-3)
    assert training_curves.exponents(reached) == pytest.approx([0.6] * 2, abs=0.02)
    noisy = training_curves.convergence_by_width(curves(planted, noise=0.03), epsilon)
    assert np.mean(training_curves.exponents(noisy)) == pytest.approx(0.6, abs=0.35)


def test_run_that_has_not_converged_has_no_number_and_its_seed_no_slope():
    slow = {64: LAW, 128: LAW, 256: PowerLaw(0.01, 3.0, -0.2)}
    reached = training_curves.convergence_by_width(curves(slow, seeds=1), 0.05)
    assert reached.tokens.isna().to_list() == [False, False, True]
    assert all(map(math.isnan, training_curves.exponents(reached)))
    to = training_curves.tokens_to_convergence
    assert math.isnan(to(LAW, 0.4, 5000, 1e6)), "it never gains so much"
    assert math.isnan(to(PowerLaw(0.0, 10.0, -0.5), 0.05, 5000, 1e6)), "without a floor it always does"
    assert math.isnan(to(PowerLaw(0.2, 10.0, 0.5), 0.05, 5000, 1e6)), "it rises"
    assert math.isnan(to(LAW, 0.05, 1e6, 2e6)), "before the first reading"


def test_envelope_is_the_least_error_that_two_widths_could_have():
    small, large = PowerLaw(0.3, 40.0, -0.5), PowerLaw(0.1, 60.0, -0.5)
    both = curves({64: small, 256: large}, seeds=1)
    both["compute"] = both.tokens * training_curves.flops_per_token(8, both.d_sae, 16)
    front = training_curves.envelope(both)
    cost = {width: float(training_curves.flops_per_token(8, width, 16)) for width in (64, 256)}
    least = [min(small(c / cost[64]), large(c / cost[256])) for c in front.compute]
    assert front.error.to_list() == pytest.approx(least, rel=0.02)
    assert (front.error.diff().dropna() <= 0).all()
    assert front.compute.min() >= 20 * 256 * cost[256] - 1 and front.compute.max() <= 1000 * 256 * cost[64] + 1


def test_curves_that_share_no_compute_are_refused():
    both = curves({64: LAW, 256: LAW}, seeds=1)
    both["compute"] = both.tokens * np.where(both.d_sae == 64, 1.0, 1e9)
    with pytest.raises(UserError, match="no two training curves share a compute"):
        training_curves.envelope(both)
    with pytest.raises(UserError, match="no two training curves share a compute"):
        training_curves.envelope(both[both.d_sae == 64])


def test_flops_count_one_dense_product_and_four_sparse_ones():
    assert training_curves.flops_per_token(3, 5, 2) == 2 * 3 * 5 + 4 * 2 * 3 * 2


def test_end_is_predicted_from_the_first_half_of_a_law_and_missed_where_it_breaks():
    read = curves({64: LAW}, seeds=1)
    table = pd.DataFrame([{"d_sae": 64, "seed": 0, "normalised_mse": float(LAW(read.tokens.max()))}])
    assert training_curves.end_from_half(read, table).ratio[0] == pytest.approx(1.0, abs=0.01)
    broken = read.assign(error=read.error.where(read.tokens <= read.tokens.max() / 2, 0.01))
    worse = table.assign(normalised_mse=0.01)
    assert training_curves.end_from_half(broken, worse).ratio[0] > 10


def test_curves_of_several_batches_are_put_on_tokens_and_their_last_gain_is_read():
    table = pd.DataFrame({"method": ["batch 64", "batch 256"], "batch": [64, 256]})
    both = pd.concat([history(LAW).assign(method=f"batch {batch}") for batch in (64, 256)])
    read = training_curves.errors_by_batch(both, table, 1 / 32)
    assert read.groupby("batch").tokens.max().to_dict() == {64: 64_000, 256: 256_000}
    late = curves({64: LAW}, seeds=2).assign(group="x")
    gain = training_curves.last_doubling(late, "group")["x"]
    assert gain == pytest.approx(1 - LAW(256_000) / LAW(128_000), abs=0.005)
