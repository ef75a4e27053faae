"""Attention that can be differentiated twice."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from keras_sam.backend import curvature

MASK = torch.ones(5, 7, dtype=torch.bool).tril(2)
MASK[0] = False  # Attends to nothing.


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"is_causal": True},
        {"attn_mask": MASK},
        {"attn_mask": MASK.float()},
        {"scale": 0.3},
        {"enable_gqa": True},
    ],
    ids=lambda arguments: ",".join(arguments) or "plain",
)
def test_attention_of_products_is_that_of_pytorch(arguments):
    query = torch.randn(2, 4, 5, 3)
    num_heads = 2 if "enable_gqa" in arguments else 4
    key, value = torch.randn(2, 2, num_heads, 7, 3)
    is_flash, seen = torch.backends.cuda.flash_sdp_enabled(), []

    def function(weights):
        seen.append(torch.backends.cuda.flash_sdp_enabled())
        found.append(scaled_dot_product_attention(*weights, **arguments))
        return (found[-1] ** 2).sum()

    found = []
    weights = [query, key, value]
    direction = [torch.randn_like(w) for w in weights]
    product = curvature.hessian_product(function, weights, direction)
    expected = scaled_dot_product_attention(*weights, **arguments)
    # Sums of some ten terms in float32.
    torch.testing.assert_close(found[0], expected, rtol=1e-5, atol=1e-5)
    assert all(image.isfinite().all() for image in product)
    # Nothing is selected for the whole process.
    assert seen == [is_flash]
