"""Probes on single features: logistic regression with one weight and one bias (Top-k paper, section 4.2).

The probe loss of a task is the cross-entropy of the best single feature,

    min over i, w, b of  E[ softplus(w z_i + b) - y (w z_i + b) ],

in nats. Features and probes are chosen on some tokens and scored on others: the least loss of many features on the tokens
that chose it would flatter. All probes are fitted together by Newton's method. A feature of a sparse code is zero on most
tokens; these have one logit, so they are one sample with a weight. Only features that a quick look at all of them singles
out are fitted (`Screen`). Letters: B tokens, M features, K tasks, C candidates of a task, P probes, A samples of a probe.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

RIDGE = 1e-6  # on the squares of the weight, in units of the feature's spread, and of the bias beyond the base rate
CANDIDATES = 8  # features of a task that are fitted
_PASSES = 60  # of Newton's method: a few more than separable labels take
_STEP = 1e-4  # logits: a fit ends once no probe would move further
_SAMPLES = 2**22  # of all probes that are fitted at a time
_HALF = 0.5  # a count that is nowhere zero, for rates of 0 and 1

Codes = Callable[[], Iterable[Tensor]]  # batches [B, M] of a code in the order of the tokens, the same at every call


@dataclass(frozen=True)
class Probe:
    """For each of K tasks the feature that was chosen, its weight and bias, and the loss where it was chosen; [K] each."""

    feature: Tensor
    w: Tensor
    b: Tensor
    loss: Tensor


def logit(rate: Tensor, count: float | Tensor) -> Tensor:
    """log(rate / (1 - rate)) of rates among `count` samples, kept half a sample away from 0 and 1."""
    kept = torch.minimum(torch.maximum(rate, _HALF / count + 0 * rate), 1 - _HALF / count + 0 * rate)
    return torch.log(kept) - torch.log1p(-kept)


def entropy(rate: Tensor) -> Tensor:
    """Cross-entropy in nats of always predicting the share of positives `rate`: what no feature at all achieves."""
    return -(torch.xlogy(rate, rate) + torch.xlogy(1 - rate, 1 - rate))


def cross_entropy(logits: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean [P] of softplus(logit) - y logit over `logits` [P, A], with labels `y` from 0 to 1."""
    return ((F.softplus(logits) - y * logits) * weight).sum(1) / weight.sum(1)


def fit(z: Tensor, y: Tensor, weight: Tensor, ridge: float = RIDGE) -> tuple[Tensor, Tensor]:
    """Weights and biases [P] of P logistic regressions on one feature each, by Newton's method; all in `z`'s precision.

    `z` [P, A] are samples, `y` [P, A] their labels or shares of positive labels, `weight` [P, A] their counts. The penalty
    is ridge / 2 times the squares of the weight of z / spread(z) and of the bias beyond the base rate, so that separable
    labels have a finite optimum and a feature that is constant gets no weight. A step is shortened where it would move any
    sample's logit too far, and taken back where it does not lower the loss.
    """
    count = weight.sum(1)
    share = weight / count[:, None]
    mean, rate = (share * z).sum(1, keepdim=True), (share * y).sum(1)
    spread = (share * (z - mean).square()).sum(1, keepdim=True).sqrt()
    usable = spread > 1e-6 * z.abs().amax(1, keepdim=True)
    u = torch.where(usable, (z - mean) / torch.where(usable, spread, 1.0), 0.0)
    largest, base = u.abs().amax(1).double(), logit(rate, count).double()
    radius, best = torch.full_like(base, 2.0), torch.full_like(base, torch.inf)
    at = step = torch.zeros(2, len(base), dtype=base.dtype, device=base.device)  # (w, c): weight of u, bias beyond base
    for _ in range(_PASSES):
        tried = at + step
        loss, gradient, curvature = _look(u, y, share, tried, base, ridge)
        lower = loss < best + 1e-7 * loss.abs()  # as far as single precision tells
        at, best = torch.where(lower, tried, at), torch.where(lower, loss, best)
        radius = torch.where(lower, 2 * radius, radius / 8)
        newton = _newton(gradient, curvature)
        reach = (newton[0].abs() * largest + newton[1].abs()).clamp_min(1e-30)
        fresh = newton * torch.minimum(radius / reach, torch.ones_like(reach))
        step = torch.where(lower, fresh, step / 8)
        if bool((step[0].abs() * largest + step[1].abs() < _STEP).all()):
            break
    w, c = at + step  # too small a step to be worth another look
    slope = torch.where(usable[:, 0], w / torch.where(usable[:, 0], spread[:, 0].double(), 1.0), 0.0)
    return slope.to(z.dtype), (base + c - slope * mean[:, 0]).to(z.dtype)


def _look(u: Tensor, y: Tensor, share: Tensor, at: Tensor, base: Tensor, ridge: float) -> tuple[Tensor, Tensor, Tensor]:
    """Penalised loss [P], its gradient [2, P] and its second derivatives (ww, wc, cc) [3, P] at `at` = (w, c)."""
    (w, c), kind = at, u.dtype
    logits = u * w.to(kind)[:, None] + (base + c).to(kind)[:, None]
    p = torch.sigmoid(logits)
    loss = ((F.softplus(logits) - y * logits) * share).sum(1).double() + ridge / 2 * (w * w + c * c)
    r, q = share * (p - y), share * p * (1 - p)
    qu = q * u
    gradient = torch.stack([(r * u).sum(1), r.sum(1)]).double() + ridge * at
    curvature = torch.stack([(qu * u).sum(1), qu.sum(1), q.sum(1)]).double()
    curvature[0] += ridge
    curvature[2] += ridge
    return loss, gradient, curvature


def _newton(gradient: Tensor, curvature: Tensor) -> Tensor:
    """The step [2, P] to the minimum of the parabola with this gradient [2, P] and these second derivatives [3, P]."""
    ww, wc, cc = curvature
    determinant = (ww * cc - wc * wc).clamp_min(1e-12 * ww * cc)
    return -torch.stack([cc * gradient[0] - wc * gradient[1], ww * gradient[1] - wc * gradient[0]]) / determinant


class Screen:
    """Sums over tokens by which each of M features is judged at a glance for each of K tasks.

    Two numbers estimate how far a feature lowers the loss: the information that its being active has on the label, which is
    exact for a feature with one size, and half its squared correlation with the label, which is exact for weak features.
    """

    def __init__(self) -> None:
        self.tokens = 0
        self._sums: list[Tensor] = []

    def add(self, z: Tensor, y: Tensor) -> None:
        """Add codes `z` [B, M] and labels `y` [B, K]."""
        active, y = (z != 0).to(z.dtype), y.to(z.dtype)
        sums = [z.sum(0), z.square().sum(0), active.sum(0), y.sum(0), y.T @ z, y.T @ active]
        sums = [one.double() for one in sums]
        self._sums = [a + b for a, b in zip(self._sums, sums, strict=True)] if self._sums else sums
        self.tokens += len(z)

    def candidates(self, count: int) -> Tensor:
        """The features [K, C] to fit for each task: the best half of `count` by either number, or all M where they are few."""
        sums, squares, active, positive, together, both = self._sums
        if count >= len(sums):
            return torch.arange(len(sums), device=sums.device).expand(len(positive), -1)
        n = self.tokens
        rate = positive[:, None] / n
        covariance = together / n - rate * sums / n
        variance = squares / n - (sums / n).square()
        correlation2 = covariance.square() / (rate * (1 - rate) * variance).clamp_min(1e-30)
        share = active / n
        given = [entropy((part / whole.clamp_min(1)).clamp(0, 1)) for part, whole in
                 ((both, active), (positive[:, None] - both, n - active))]  # fmt: skip
        information = entropy(rate) - share * given[0] - (1 - share) * given[1]
        half = max(1, count // 2)
        return torch.cat([score.topk(half).indices for score in (information, correlation2)], 1)


def best(codes: Codes, y: Tensor, candidates: int = CANDIDATES) -> Probe:
    """The best probe of each task on tokens with labels `y` [B, K] (bool): chosen and fitted on all of them."""
    screen = Screen()
    for z, labels in _batches(codes, y):
        screen.add(z, labels)
    wanted = screen.candidates(candidates)  # [K, C]
    columns, place = wanted.unique(return_inverse=True)
    z = torch.cat([part[:, columns] for part in codes()]).T  # [unique candidates, B]
    values, tokens, weight = compressed(z)
    at_once = max(1, _SAMPLES // (values.shape[1] * wanted.shape[1]))
    parts = [_best(values, tokens, weight, of.T.to(z.dtype), p) for of, p in _tasks(y, place, at_once)]
    chosen, w, b, loss = (torch.cat(column) for column in zip(*parts, strict=True))
    return Probe(columns[chosen], w, b, loss)


def compressed(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Features `z` [U, B] as `(values, tokens, weight)`, [U, A + 1] each: active tokens, padding of weight 0, and the zeros.

    A is the largest number of active tokens. The last sample stands for all tokens on which the feature is zero.
    """
    feature, token = (z != 0).nonzero(as_tuple=True)
    counts = (z != 0).sum(1)
    place = torch.arange(len(token), device=z.device) - (counts.cumsum(0) - counts)[feature]
    shape = (len(z), int(counts.max()) + 1)
    tokens = torch.zeros(shape, dtype=torch.long, device=z.device)
    values, weight = z.new_zeros(shape), z.new_zeros(shape)
    tokens[feature, place], values[feature, place], weight[feature, place] = token, z[feature, token], 1.0
    weight[:, -1] = (z.shape[1] - counts).to(z.dtype)
    return values, tokens, weight


def _best(values: Tensor, tokens: Tensor, weight: Tensor, y: Tensor, place: Tensor) -> tuple[Tensor, ...]:
    """`(place, w, b, loss)` [K] of the best of the candidates at `place` [K, C] for labels `y` [K, B]."""
    tasks, candidates = place.shape
    rows = place.flatten()
    z, share = values[rows], weight[rows]
    labels = y.repeat_interleave(candidates, 0).gather(1, tokens[rows])
    zeros = share[:, -1]
    on_zeros = y.sum(1).repeat_interleave(candidates) - (labels * share)[:, :-1].sum(1)
    labels[:, -1] = on_zeros / zeros.clamp_min(1)
    w, b = fit(z, labels, share)
    loss = cross_entropy(z * w[:, None] + b[:, None], labels, share).view(tasks, candidates)
    least = loss.argmin(1)
    of_task = torch.arange(tasks, device=least.device)
    return place[of_task, least], w.view_as(loss)[of_task, least], b.view_as(loss)[of_task, least], loss.amin(1)


def scored(probe: Probe, codes: Codes, y: Tensor) -> Tensor:
    """Cross-entropies [K] in nats of probes on other tokens than they were chosen on, with labels `y` [B, K]."""
    total = torch.zeros(len(probe.w), dtype=torch.float64, device=probe.w.device)
    for z, labels in _batches(codes, y):
        logits = z[:, probe.feature] * probe.w + probe.b
        total += (F.softplus(logits) - labels * logits).sum(0).double()
    return total / len(y)


def without_feature(chosen_on: Tensor, scored_on: Tensor) -> Tensor:
    """Cross-entropies [K] on labels `scored_on` [B, K] of predicting the share of positives of `chosen_on` everywhere."""
    odds = logit(chosen_on.double().mean(0), float(len(chosen_on)))
    return F.softplus(odds) - scored_on.double().mean(0) * odds


def _batches(codes: Codes, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    first = 0
    for z in codes():
        yield z, y[first : first + len(z)]
        first += len(z)
    assert first == len(y)


def _tasks(y: Tensor, place: Tensor, at_once: int) -> Iterable[tuple[Tensor, Tensor]]:
    return zip(y.split(at_once, 1), place.split(at_once), strict=True)
