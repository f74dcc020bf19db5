"""Products of a head's matrices are those multiplied out."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import nla
from tests.helpers.spectrum import gaussian


@pytest.mark.parametrize("heads, shared", [(6, 1), (6, 2), (6, 6)])
def test_product_spectra_agree_with_the_products_themselves(heads, shared):
    left, right = gaussian(heads, 5, 40), gaussian(heads // shared, 5, 40, seed=1)
    found = nla.measures.product_singular_values(left.float(), right.float())
    for h in range(heads):
        whole = left[h].float().double().T @ right[h // shared].float().double()  # 40 x 40
        s = np.linalg.svd(whole.numpy(), compute_uv=False)
        assert found[h] == pytest.approx(s[:5], rel=1e-10) and s[5] < 1e-12 * s[0]


def test_head_products_of_a_model(ladder):
    """Against transformers' own layout: query, key and value by head, and the columns of dense."""
    with nla.load(str(ladder), 100) as weights:
        query, key, value, dense = (weights.matrix(k, 1) for k in ("query", "key", "value", "dense"))
        found = {"query": nla.head_products(query), "dense": nla.head_products(dense)}
    W = {m.kind: m.weight.double().numpy() for m in (query, key, value, dense)}
    d = 14
    for h in range(3):
        part = slice(h * d, (h + 1) * d)
        whole = {"query": W["query"][part].T @ W["key"][part], "dense": W["dense"][:, part] @ W["value"][part]}
        for kind, product in whole.items():
            s = np.linalg.svd(product, compute_uv=False)[:d]
            expected = nla.numerics.ranks(s)
            assert found[kind]["head_singular_values"].reshape(3, d)[h] == pytest.approx(s, rel=1e-5)
            assert found[kind]["head_stable_ranks"][h] == pytest.approx(expected["stable_rank"])
            assert found[kind]["head_effective_ranks"][h] == pytest.approx(expected["effective_rank"])
    for result in found.values():
        per_head = result["head_stable_ranks"]
        assert result["head_stable_rank"] == pytest.approx(per_head.mean())
        extremes = (result["head_stable_rank_min"], result["head_stable_rank_max"])
        assert extremes == pytest.approx((per_head.min(), per_head.max()))
        assert result["head_stable_rank_relative"] == pytest.approx(1, abs=0.25)  # random weights


def test_mismatched_heads(ladder):
    with nla.load(str(ladder), 100) as weights:
        query = weights.matrix("query", 0)
        key = weights.matrix("key", 0)
        products = [query.per_head[h].T @ key.per_head[h - 1] for h in range(3)]
        expected = [nla.numerics.ranks(torch.linalg.svdvals(p.double())[:14].numpy())["stable_rank"] for p in products]
        assert nla.head_products(query)["head_stable_rank_mismatched"] == pytest.approx(np.mean(expected), rel=1e-5)


def test_a_broken_factor_leaves_the_head_products_out(ladder):
    with nla.load(str(ladder), 100) as weights:
        query = weights.matrix("query", 0)
        for broken in (SimpleNamespace(finite=False), None):
            stub = SimpleNamespace(
                kind="query", per_head=query.per_head, sibling=lambda kind, needed, broken=broken: broken
            )
            assert nla.head_products(stub) == {}


@pytest.mark.parametrize("d_head, d_model", [(64, 512), (100, 200), (110, 110)])
def test_random_products_follow_free_probability(d_head, d_model):
    spectra, c = nla.measures.random_product_spectra(d_head, d_model), d_head / d_model
    z = (-c + (c**2 + 8 * c) ** 0.5) / (4 * c)
    edge = (1 + z) * (1 + c * z) ** 2 / z  # 27/4 for c = 1
    assert (spectra[:, 0] ** 2).mean() / d_model**2 == pytest.approx(edge, rel=0.08)
    assert (spectra**2).mean() / d_model**2 == pytest.approx(1, rel=0.02)  # E ||A^T B||_F^2 = d_head d_model^2, exactly
    found = nla.measures.random_product_ranks(d_head, d_model)
    assert found["participation_ratio"] == pytest.approx(d_head / (1 + 2 * c), rel=0.03)


def test_random_products_agree_with_products_drawn_in_full():
    rng = np.random.default_rng(7)
    drawn = [
        nla.numerics.ranks(
            np.linalg.svd(rng.standard_normal((90, 20)) @ rng.standard_normal((20, 90)), compute_uv=False)[:20]
        )
        for _ in range(150)
    ]
    expected = nla.measures.random_product_ranks(20, 90)
    for name in ("stable_rank", "effective_rank", "participation_ratio", "energy_rank_90"):
        assert np.mean([d[name] for d in drawn]) == pytest.approx(expected[name], rel=0.02), name
    assert nla.measures.random_product_ranks(30, 20)["numerical_rank"] == 20  # a head wider than the model
