"""Every metric reads the truth where the truth is known."""

import pytest
import torch

from saebook.evaluation import metrics
from saebook.sae.base import Member
from saebook.sae.registry import build
from saebook.subject.model import Intervention, Subject


@pytest.fixture(scope="module")
def site(small_subject):
    return small_subject.site("resid_post", 1)


@pytest.fixture(scope="module")
def rows():
    return torch.randint(0, 300, (40, 32), generator=torch.Generator().manual_seed(3))


def identity(d: int, shrink: float = 1.0, offset: float = 0.0):
    """A ReLU SAE with latents for +e_i and -e_i: its reconstruction is `shrink` times its input, exactly d active."""
    stack = build("relu", d, 2 * d, (Member(0, 1.0),))
    with torch.no_grad():
        stack.W_enc[0] = torch.cat([torch.eye(d), -torch.eye(d)], 1) * shrink
        stack.W_dec[0] = torch.cat([torch.eye(d), -torch.eye(d)], 0)
        stack.b_enc.fill_(offset)
        stack.b_dec.zero_()
    return stack


def test_perfect_sae_recovers_everything(small_subject, site, rows):
    ((row,),) = metrics.measure([identity(32)], small_subject, site, rows, skip=1)
    assert row["l0"] == pytest.approx(32)
    assert row["normalised_mse"] == pytest.approx(0, abs=1e-10)
    assert row["loss_recovered"] == pytest.approx(1, abs=1e-6)
    assert row["loss_recovered_mean"] == pytest.approx(1, abs=1e-6)
    assert row["relative_reconstruction_bias"] == pytest.approx(1)
    assert row["alive"] == 1 and row["eval_tokens"] == 40 * 31


def test_known_shrinkage_is_read_back(small_subject, site, rows):
    ((row,),) = metrics.measure([identity(32, shrink=0.7)], small_subject, site, rows)
    assert row["relative_reconstruction_bias"] == pytest.approx(0.7, rel=1e-6)
    assert row["loss_recovered"] < 1 - 1e-3


def test_silent_sae_equals_zero_ablation(small_subject, site, rows):
    ((row,),) = metrics.measure([identity(32, offset=-1e6)], small_subject, site, rows, skip=1)
    assert row["l0"] == 0 and row["alive"] == 0
    assert row["loss_recovered"] == pytest.approx(0, abs=1e-9)
    assert row["ce"] == pytest.approx(row["ce_zero"], abs=1e-9)


def test_losses_equal_those_of_the_subject(small_subject, site, rows):
    ((row,),) = metrics.measure([identity(32)], small_subject, site, rows, skip=0)
    assert row["ce_clean"] == pytest.approx(small_subject.loss(rows).mean().item(), rel=1e-6)
    zero = small_subject.loss(rows, site, torch.zeros_like).mean().item()
    assert row["ce_zero"] == pytest.approx(zero, rel=1e-6)
    mean = small_subject.activations(rows, site).flatten(0, 1).mean(0)
    assert row["ce_mean"] == pytest.approx(
        small_subject.loss(rows, site, lambda x: mean.expand_as(x)).mean().item(), rel=1e-5
    )


def test_expectations_are_taken_before_ratios(small_subject, site, rows):
    """Seventy rows in passes of 32: a mean of per-pass ratios would differ from the ratio of means."""
    stack = build("relu", 32, 64, (Member(0, 1.0),))
    ((row,),) = metrics.measure([stack], small_subject, site, rows, skip=2)
    x = small_subject.activations(rows, site)[:, 2:].flatten(0, 1).double()
    xhat = stack.reconstruct(x.float())[0].double()
    gamma = xhat.square().sum() / (xhat * x).sum()
    error = (x - xhat).square().sum() / (x - x.mean(0)).square().sum()
    assert row["relative_reconstruction_bias"] == pytest.approx(gamma.item(), rel=1e-6)
    assert row["normalised_mse"] == pytest.approx(error.item(), rel=1e-6)
    # Eq. 10 is the argmin of E||xhat / g - x||^2.
    around = [((xhat / g) - x).square().sum().item() for g in (gamma * 0.99, gamma, gamma * 1.01)]
    assert around[1] < min(around[0], around[2])


def test_skipped_positions_keep_their_own_activations(small_subject, site, rows):
    """With all but the last two positions skipped, even a silent SAE can only hurt the last prediction."""
    ((row,),) = metrics.measure([identity(32, offset=-1e6)], small_subject, site, rows, skip=30)
    own = small_subject.activations(rows, site)
    collapsed = own.clone()
    collapsed[:, 30:] = 0
    expected = small_subject.intervene(rows, site).loss(collapsed)[:, 30:].mean().item()
    assert row["ce"] == pytest.approx(expected, rel=1e-6)
    assert row["eval_tokens"] == 80


def test_per_token_sae_is_measured_in_its_space_and_intervenes_as_an_activation(small_subject, site, rows):
    passing, silent = identity(32), identity(32, offset=-1e6)
    for stack in (passing, silent):
        stack.per_token = True
    plain = identity(32, shrink=0.7)
    ((whole,), (nothing,), (beside,)) = metrics.measure([passing, silent, plain], small_subject, site, rows, skip=1)
    assert whole["loss_recovered"] == pytest.approx(1, abs=1e-5) and whole["normalised_mse"] < 1e-9
    x = small_subject.activations(rows, site)[:, 1:].flatten(0, 1).double()
    z = (x - x.mean(1, keepdim=True)) / (x.std(1, keepdim=True) + 1e-5)
    error = z.square().sum() / (z - z.mean(0)).square().sum()
    assert nothing["normalised_mse"] == pytest.approx(error.item(), rel=1e-5)
    # Nothing is said, but each token keeps its own mean: that is not zero ablation.
    flat = small_subject.loss(
        rows, site, lambda a: torch.cat([a[:, :1], a[:, 1:].mean(-1, keepdim=True).expand_as(a[:, 1:])], 1)
    )
    assert nothing["ce"] == pytest.approx(flat[:, 1:].mean().item(), rel=1e-5)
    # A stack beside them in the same call keeps its own space.
    assert beside["relative_reconstruction_bias"] == pytest.approx(0.7, rel=1e-6)
    alone = metrics.measure([identity(32, shrink=0.7)], small_subject, site, rows, skip=1)[0][0]
    assert beside["normalised_mse"] == pytest.approx(alone["normalised_mse"], rel=1e-9)


@torch.inference_mode()
def one_member_at_a_time(stacks, subject, site, rows, skip):
    """What `measure` is to give, written plainly: every member by itself, on all rows at once, with a pass of its own."""
    own = subject.activations(rows, site)
    x = own[:, skip:].flatten(0, 1)

    def loss(new):
        whole = own.clone()
        whole[:, skip:] = new.view_as(own[:, skip:])
        return subject.loss(rows, site, lambda _: whole)[:, skip:].double().mean().item()

    clean, zero, mean = loss(x), loss(torch.zeros_like(x)), loss(x.mean(0).expand_as(x))
    results = []
    for stack in stacks:
        z, middle, spread = stack.prepare(x)
        variance = (z - z.mean(0)).square().sum(1).mean().item()
        for i in range(len(stack.members)):
            f, zhat = stack.member(i).encode(z)[0], stack.member(i).reconstruct(z)[0]
            ce = loss(zhat * spread + middle)
            row = {
                "l0": (f > 0).sum(1).double().mean().item(),
                "normalised_mse": (z - zhat).square().sum(1).mean().item() / variance,
                "loss_recovered": 1 - (ce - clean) / (zero - clean),
                "loss_recovered_mean": 1 - (ce - clean) / (mean - clean),
                "ce": ce, "ce_clean": clean, "ce_zero": zero, "ce_mean": mean,
                "relative_reconstruction_bias": zhat.square().sum().item() / (zhat * z).sum().item(),
                "alive": (f > 0).any(0).double().mean().item(), "eval_tokens": len(x),
            }  # fmt: skip
            results.append(row)
    return results


def several(dtype):
    """Stacks of one to five members with all that can differ between them: architecture, width, and the space they live in."""
    shapes = [("relu", 24, 5), ("topk", 40, 3), ("gated", 64, 2), ("normalised_relu", 48, 1), ("relu", 24, 2)]
    stacks = []
    for kind, d_sae, members in shapes:
        some = tuple(Member(seed, 3 + seed) for seed in range(members))
        stack = build(kind, 32, d_sae, some, dtype=dtype, per_token=len(stacks) == 4)
        generator = torch.Generator().manual_seed(d_sae)
        for parameter in stack.parameters():
            parameter.data += 0.2 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(dtype)
        stacks.append(stack)
    return stacks


@pytest.fixture(scope="module")
def precise_subject(small_subject_folder):
    return Subject.load(str(small_subject_folder), "cpu", torch.float64)


@pytest.mark.parametrize("skip", [0, 3])
@pytest.mark.parametrize(("activations", "latents"), [(1, 1), (3 * 2**13, 2**13), (2**17, 2**16), (2**30, 2**30)])
def test_members_together_equal_one_at_a_time(precise_subject, site, rows, monkeypatch, skip, activations, latents):
    """In float64, within bounds of memory from one row and token at a time to everything at once."""
    monkeypatch.setitem(metrics._ACTIVATIONS, "cpu", activations)
    monkeypatch.setitem(metrics._LATENTS, "cpu", latents)
    stacks = several(torch.float64)
    expected = one_member_at_a_time(stacks, precise_subject, site, rows[:9], skip)
    measured = [row for group in metrics.measure(stacks, precise_subject, site, rows[:9], skip) for row in group]
    assert [len(group) for group in metrics.measure(stacks, precise_subject, site, rows[:2], skip)] == [5, 3, 2, 1, 2]
    for one, other in zip(measured, expected, strict=True):
        assert one == pytest.approx(other, rel=1e-9)  # the losses of single tokens are float32


def test_memory_is_bounded(small_subject, site, rows, monkeypatch):
    """No pass has more activations or latents than its bound, nor far fewer where there is enough to do."""
    monkeypatch.setitem(metrics._ACTIVATIONS, "cpu", 12 * 4 * 32 * 32)  # twelve rows of 32 positions and width 32
    monkeypatch.setitem(metrics._LATENTS, "cpu", 2**15)
    passes, latents = [], []

    def loss(self, new=None, original=Intervention.loss):
        passes.append(len(new))
        return original(self, new)

    def add(self, x, f, xhat, original=metrics.Sums.add):
        latents.append(f.nbytes)
        original(self, x, f, xhat)

    monkeypatch.setattr(Intervention, "loss", loss)
    monkeypatch.setattr(metrics.Sums, "add", add)
    metrics.measure(several(torch.float32), small_subject, site, rows[:30], skip=1)
    assert max(passes) == 12 and max(latents) <= 2**15 and max(latents) > 2**14
    passes.clear()
    metrics.measure(several(torch.float32), small_subject, site, rows[:4], skip=1)

    # Three baselines; then members in order, a part of a stack never divided: 2, 2 + 1, 1 + 1 + 1, 1 + 1 + 1, 2.
    assert passes == [12, 8, 12, 12, 12, 8]


def test_sums_are_read_once_however_many_rows(small_subject, site, rows, monkeypatch):
    """Each reading of a number waits for the device. `numpy` alone does not: compiled loops see a CPU's tensors through it."""
    readings = []
    for name in ("item", "tolist", "__float__", "__int__", "__bool__", "cpu"):
        original = getattr(torch.Tensor, name)

        def counted(self, *args, original=original, **options):
            readings.append(len(self.shape))
            return original(self, *args, **options)

        monkeypatch.setattr(torch.Tensor, name, counted)
    monkeypatch.setitem(metrics._ACTIVATIONS, "cpu", 4 * 4 * 32 * 32)
    counts = []
    for number in (4, 40):
        readings.clear()
        metrics.measure(several(torch.float32), small_subject, site, rows[:number], skip=1)
        counts.append(len(readings))
    assert counts[0] == counts[1]


def test_sums_without_tokens_cannot_be_read():
    with pytest.raises(ValueError, match="nothing was added"):
        metrics.Sums().totals()
