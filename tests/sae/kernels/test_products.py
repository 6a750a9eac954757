"""Batched products: rounded to bfloat16 going in and never after, in place of those that an architecture's loss asks for."""

import pytest
import torch

from saebook.sae.kernels.products import Products


def operands(dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    sizes = (3, 7, 5), (3, 9, 5), (3, 7, 9)
    a, rows, g = (torch.randn(*size, generator=generator, dtype=torch.float64).to(dtype) for size in sizes)
    return (
        a.requires_grad_(),
        rows.transpose(1, 2).requires_grad_(),
        g,
    )  # the second lies latent by latent, as W_enc does


def rounded(x):
    return x.detach().bfloat16().double()


def test_bfloat16_rounds_what_enters_a_product_and_sums_in_single_precision():
    a, b, g = operands()
    with Products("bf16"):
        product = torch.bmm(a, b)
    d_a, d_b = torch.autograd.grad(product, (a, b), g)
    pairs = [
        (product, rounded(a) @ rounded(b)),
        (d_a, rounded(g) @ rounded(b).transpose(1, 2)),
        (d_b, rounded(a).transpose(1, 2) @ rounded(g)),
    ]
    for mine, expected in pairs:
        assert mine.dtype == torch.float32
        torch.testing.assert_close(mine.double(), expected, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(product, torch.bmm(a, b), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.float64)])
def test_other_products_are_as_they_were(precision, dtype):
    a, b, g = operands(dtype)
    bias = torch.ones(3, 1, 9, dtype=dtype, requires_grad=True)
    with Products(precision):
        mine = torch.baddbmm(bias, a, b)
    plain = torch.baddbmm(bias, a, b)
    torch.testing.assert_close(mine, plain)
    for one, other in zip(
        torch.autograd.grad(mine, (bias, a, b), g), torch.autograd.grad(plain, (bias, a, b), g), strict=True
    ):
        torch.testing.assert_close(one, other)


def test_a_gradient_lies_in_memory_as_its_operand_does():
    a, b, g = operands()
    with Products("bf16"):
        product = torch.bmm(a, b)
    (d_b,) = torch.autograd.grad(product, b, g)
    assert not b.is_contiguous() and d_b.stride() == b.stride()


def test_constants_are_made_once():
    x = torch.ones(2)
    with Products("fp32") as products:
        first, again = x.new_tensor([1.0, 2.0]), x.new_tensor([1.0, 2.0])
        other = x.double().new_tensor([1.0, 2.0])
    assert first is again and first.tolist() == [1.0, 2.0] and other.dtype == torch.float64
    assert products.constant([1.0, 2.0], x) is first
