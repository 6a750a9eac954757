"""The Triton kernels, run by Triton's interpreter, against their twins, and the twins against autograd in float64.

The interpreter runs what a kernel says, block by block, on a CPU: it checks arithmetic, masks and addresses, not speed, and
not what the compiler for a GPU makes of them.
"""

import os
import subprocess
import sys

import pytest
import torch

# `tests/conftest.py` sets TRITON_INTERPRET before anything can import Triton.
triton = pytest.importorskip("triton", reason="Triton is not installed: pip install triton==3.7.1 (Linux)")

from saebook.sae.kernels import plain, triton_entries  # noqa: E402 - after the test whether Triton is here

DEVICE = "cpu" if os.environ["TRITON_INTERPRET"] == "1" else "cuda"

# S, B, K, M, D: a width that is no power of two, one that is, more entries than a block holds, and few latents for many
# tokens, so that segments are longer than a block.
SHAPES = [(2, 7, 3, 11, 5), (1, 5, 19, 40, 16), (3, 60, 4, 5, 24), (2, 3, 1, 6, 130)]


def case(shape, seed=0, dtype=torch.float32):
    """Latents (some twice in a token, some never), values (a third of them padding, and the last token's all), and tables."""
    members, tokens, k, d_sae, d_in = shape
    generator = torch.Generator().manual_seed(seed)

    def normal(*size):
        return torch.randn(*size, generator=generator, dtype=torch.float64).to(DEVICE, dtype)

    latents = torch.randint(d_sae - 1, (members, tokens, k), generator=generator, dtype=torch.int32).to(DEVICE)
    values = normal(members, tokens, k).abs() * (torch.rand(members, tokens, k, generator=generator) > 0.3).to(DEVICE)
    values[:, -1] = 0
    return latents, values, normal(members, d_sae, d_in), normal(members, tokens, d_in), normal(members, d_in)


def entries(shape, first, dtype=torch.float32):
    latents, values, _, inputs, _ = case(shape, dtype=dtype)
    k, d_sae = shape[2:4]
    tables = 1 if first == k else 2
    errors = torch.stack([case(shape, seed=1 + number, dtype=dtype)[3] for number in range(tables)], 1)
    by_input = case(shape, seed=5, dtype=dtype)[1].sub(1.0).mul((values != 0).to(dtype))
    order, starts = plain.sort(latents, values, d_sae)
    return plain.Entries(values, by_input, errors, inputs, first, order, starts)


def matrices(shape, beta1, dtype=torch.float32):
    members, _, _, d_sae, d_in = shape
    generator = torch.Generator().manual_seed(9)
    drawn = [
        torch.randn(members, d_sae, d_in, generator=generator, dtype=torch.float64).to(DEVICE, dtype) for _ in range(6)
    ]
    W_dec = drawn[0] / drawn[0].norm(dim=-1, keepdim=True)
    first = (drawn[2], drawn[3]) if beta1 else (None, None)
    scales = torch.tensor([3e-3, 1.4], dtype=dtype, device=DEVICE)
    return plain.Matrices(W_dec, drawn[1], *first, drawn[4].square(), drawn[5].square()), plain.Adam(
        beta1, 0.99, 1e-8, scales
    )


def tensors(matrices):
    return [value for value in vars(matrices).values() if value is not None]


def close(mine, theirs):
    torch.testing.assert_close(mine, theirs, rtol=2e-5, atol=2e-5)


def test_kernels_are_interpreted_where_there_is_no_gpu():
    assert triton.knobs.runtime.interpret == (DEVICE == "cpu")


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_compare_equals_its_twin(shape, shared, biased):
    latents, values, table, target, bias = case(shape)
    scale = torch.linspace(0.5, 2.0, shape[0], device=DEVICE)
    arguments = latents, values, table, target[:1] if shared else target, scale, bias if biased else None
    for mine, theirs in zip(triton_entries.compare(*arguments), plain.compare(*arguments), strict=True):
        close(mine, theirs)


@pytest.mark.parametrize("shape", SHAPES)
def test_compare_reads_bfloat16_and_sums_in_single_precision(shape):
    latents, values, table, target, bias = case(shape)
    scale = torch.ones(shape[0], device=DEVICE)
    results = triton_entries.compare(latents, values, table.bfloat16(), target, scale, bias)
    twins = plain.compare(latents, values, table.bfloat16(), target, scale, bias)
    exact = plain.compare(latents, values, table, target, scale, bias)
    for mine, theirs, full in zip(results, twins, exact, strict=True):
        assert mine.dtype == torch.float32
        close(mine, theirs)
        assert not torch.allclose(mine, full, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_sort_puts_each_latents_entries_together_in_order_and_padding_last(shape):
    latents, values, *_ = case(shape)
    members, tokens, k, d_sae, _ = shape
    order, starts = plain.sort(latents, values, d_sae)
    flat, key = values.flatten(), (latents + torch.arange(members, device=DEVICE)[:, None, None] * d_sae).flatten()
    for number in range(members * d_sae):
        expected = ((key == number) & (flat != 0)).nonzero().flatten()
        assert order[starts[number] : starts[number + 1]].tolist() == expected.tolist()
    assert starts[0] == 0 and int(starts[-1]) == int((flat != 0).sum())
    assert sorted(order.tolist()) == list(range(members * tokens * k))


@pytest.mark.parametrize("shape", SHAPES)
def test_sums_equal_their_twin(shape):
    one = entries(shape, shape[2])
    result = triton_entries.sums(one.order, one.starts, one.by_input, shape[3])
    close(result, plain.sums(one.order, one.starts, one.by_input, shape[3]))
    assert bool((result[:, -1] == 0).all()), "the last latent has no entry"


@pytest.mark.parametrize("split", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_equal_their_twin(shape, split):
    one = entries(shape, shape[2] // 2 if split and shape[2] > 1 else shape[2])
    for mine, theirs in zip(triton_entries.gradients(one, shape[3]), plain.gradients(one, shape[3]), strict=True):
        close(mine, theirs)


def test_long_segments_are_longer_than_a_block():
    k, _, d_in = SHAPES[2][2:]
    one = entries(SHAPES[2], k)
    longest = int(one.starts.diff().max())
    assert longest > 2 * triton_entries._blocks(d_in, 16)[1]


@pytest.mark.parametrize("beta1", [0.0, 0.9])
@pytest.mark.parametrize(
    ("clipped", "project", "renormalise"), [(False, True, True), (True, False, True), (True, True, False)]
)
def test_step_equals_its_twin(beta1, clipped, project, renormalise):
    shape = SHAPES[0]
    d_dec, d_enc = plain.gradients(entries(shape, shape[2]), shape[3])
    factors = torch.tensor([0.5, 2.0], device=DEVICE) if clipped else None
    mine, theirs = (matrices(shape, beta1) for _ in range(2))
    triton_entries.step(*mine, d_dec.clone(), d_enc.clone(), factors, project, renormalise)
    plain.step(*theirs, d_dec, d_enc, factors, project, renormalise)
    for a, b in zip(tensors(mine[0]), tensors(theirs[0]), strict=True):
        close(a, b)
    assert not torch.allclose(mine[0].W_enc, matrices(shape, beta1)[0].W_enc)


@pytest.mark.parametrize("beta1", [0.0, 0.9])
@pytest.mark.parametrize("shape", SHAPES)
def test_fused_step_equals_its_twin_and_repeats_bit_by_bit(shape, beta1):
    one = entries(shape, max(1, shape[2] - 1))
    mine, theirs, again = (matrices(shape, beta1) for _ in range(3))
    triton_entries.fused_step(*mine, one, True, True)
    plain.fused_step(*theirs, one, True, True)
    triton_entries.fused_step(*again, one, True, True)
    for a, b, c in zip(tensors(mine[0]), tensors(theirs[0]), tensors(again[0]), strict=True):
        close(a, b)
        assert torch.equal(a, c)


def test_step_refuses_weights_that_it_could_not_change_in_place():
    one, adam = matrices(SHAPES[0], 0.0, torch.float64)
    with pytest.raises(ValueError, match="single precision"):
        triton_entries.step(one, adam, one.W_dec, one.W_enc, None, True, True)


@pytest.mark.parametrize(("kernels", "dtype"), [(plain, torch.float64), (triton_entries, torch.float32)])
@pytest.mark.parametrize("shape", SHAPES[:3])
def test_gradients_are_those_of_autograd(kernels, dtype, shape):
    """Of sum over s of scale_s / 2 * ||xhat - x||^2, with values ReLU(x . W_enc + b) at the entries' latents."""
    members, _, k, d_sae, _ = shape
    latents, _, W_dec, x, b_dec = case(shape, dtype=torch.float64)
    W_enc, b_enc = case(shape, seed=3, dtype=torch.float64)[2], torch.linspace(-1, 1, d_sae, device=DEVICE).double()
    scale = torch.linspace(0.5, 2.0, members, device=DEVICE).double()
    parameters = [p.requires_grad_() for p in (W_dec, W_enc, b_enc.repeat(members, 1))]
    places = torch.arange(members, device=DEVICE)[:, None, None], latents.long()
    values = ((parameters[1][places] * x[:, :, None]).sum(-1) + parameters[2][places]).relu()
    xhat = (values[..., None] * parameters[0][places]).sum(2) + b_dec[:, None]
    expected = torch.autograd.grad((scale / 2 * (xhat - x).square().sum((1, 2))).sum(), parameters)

    values, W_dec, x, b_dec, scale = (t.detach().to(dtype) for t in (values, W_dec, x, b_dec, scale))
    error, squares, by_input = kernels.compare(latents, values, W_dec, x, scale, b_dec)
    order, starts = kernels.sort(latents, values, d_sae)
    one = plain.Entries(values * scale[:, None, None], by_input, error[:, None], x, k, order, starts)
    results = *kernels.gradients(one, d_sae), kernels.sums(order, starts, by_input, d_sae)
    tolerance = {"rtol": 1e-10, "atol": 1e-10} if dtype == torch.float64 else {"rtol": 1e-4, "atol": 1e-4}
    for result, wanted in zip(results, expected, strict=True):
        torch.testing.assert_close(result.double(), wanted, **tolerance)
    torch.testing.assert_close(squares.double(), (xhat.detach() - x.double()).square().sum(-1), **tolerance)


_COMPILE = """
import torch, triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from saebook.sae.kernels import plain, triton_entries  # noqa: E402 - after the test whether Triton is here

KINDS = {torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.int32: "*i32"}
bits = []

def compile_for_gpus(kernel, programs, warps, *arguments, **constants):
    kinds = [KINDS[a.dtype] if isinstance(a, torch.Tensor) else "i32" for a in arguments]
    given = {n: kinds.pop(0) if n not in constants else "constexpr" for n in kernel.arg_names}
    places = {(kernel.arg_names.index(n),): value for n, value in constants.items()}
    for capability in (80, 90):
        target = GPUTarget("cuda", capability, 32)
        made = triton.compile(ASTSource(kernel, given, places), target=target, options={"num_warps": warps})
        print(kernel.__name__, capability, len(made.asm["cubin"]) > 0)

triton_entries._launch = compile_for_gpus
for d_in, table in ((128, torch.float32), (768, torch.bfloat16)):
    S, B, K, M = 2, 4, 40, 8
    latents, values = torch.zeros(S, B, K, dtype=torch.int32), torch.ones(S, B, K)
    x, W = torch.ones(S, B, d_in), torch.ones(S, M, d_in)
    triton_entries.compare(latents, values, W.to(table), x, torch.ones(S), x[:, 0] if d_in == 768 else None)
    order, starts = plain.sort(latents, values, M)
    triton_entries.sums(order, starts, values, M)
    entries = plain.Entries(values, values, x[:, None], x, K - 8, order, starts)
    g = triton_entries.gradients(entries, M)
    adam = plain.Adam(0.9 if d_in == 768 else 0.0, 0.999, 1e-8, torch.ones(2))
    first = (W, W) if d_in == 768 else (None, None)
    matrices = plain.Matrices(W, W, *first, W, W)
    triton_entries.step(matrices, adam, *g, torch.ones(S), False, True)
    triton_entries.fused_step(matrices, adam, entries, True, True)
"""


def test_kernels_compile_for_gpus_where_there_is_none(tmp_path):
    """Down to machine code, by Triton's own assembler: what the interpreter accepts, the compiler might not."""
    environment = os.environ | {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _COMPILE], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 20 and done.stdout.count("True") == 20
