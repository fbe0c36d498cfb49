"""Fusion operators and shared blocks against their formulas, worked by hand or by a slow obvious twin."""

from __future__ import annotations

import math

import pytest
import torch

from mmsim.workloads import blocks, fusion
from mmsim.workloads.mult import MulT, causal_mask, sinusoid
from tests.workload_counts import parameters

X, Y = torch.tensor([[2.0, 3.0]]), torch.tensor([[5.0, 7.0]])


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize(
    ("operator", "fused"),
    [
        (fusion.Concat(), [2, 3, 5, 7]),
        (fusion.ConcatSteps(), [2, 3, 5, 7]),
        (fusion.Zero(), [0, 0]),
        (fusion.Sum(), [7, 10]),
        (fusion.OuterProduct(), [1, 5, 7, 2, 10, 14, 3, 15, 21]),  # [1, 2, 3] outer [1, 5, 7]
    ],
)
def test_by_hand(operator: torch.nn.Module, fused: list[float]) -> None:
    assert operator(X, Y).tolist() == [fused]


def test_three_modalities_multiply_their_widths() -> None:
    features = [torch.randn(2, size) for size in (4, 19, 79)]
    fused = fusion.OuterProduct()(*features)
    assert fused.shape == (2, 8000) == (2, fusion.OuterProduct.width([4, 19, 79]))
    ones = [torch.cat([torch.ones(2, 1), x], 1) for x in features]
    torch.testing.assert_close(fused, torch.einsum("bi,bj,bk->bijk", *ones).flatten(1))


def test_attention_by_hand() -> None:
    """softmax over rows of [[10, 14], [15, 21]] / sqrt 2, times [5, 7]."""
    rows = [[2 * 5, 2 * 7], [3 * 5, 3 * 7]]
    expected = []
    for row in rows:
        weights = [math.exp(score / math.sqrt(2)) for score in row]
        expected.append((weights[0] * 5 + weights[1] * 7) / sum(weights))
    torch.testing.assert_close(fusion.Attention()(X, Y), torch.tensor([expected]))


def test_linear_glu_is_a_product_with_a_gate() -> None:
    glu = fusion.LinearGLU([2, 2], 3)
    expected = (X @ glu.value.weight.T) / (1 + torch.exp(-(Y @ glu.gate.weight.T)))
    torch.testing.assert_close(glu(X, Y), expected)
    assert parameters(glu) == 2 * (2 * 3)


def test_low_rank_is_a_linear_layer_on_the_outer_product() -> None:
    """Its matrix is the sum over the rank of the outer products of the factors."""
    sizes, out, rank = [3, 4, 2], 5, 6
    low = fusion.LowRank(sizes, out, rank)
    features = [torch.randn(7, size) for size in sizes]
    matrix = torch.einsum("r,rio,rjo,rko->ijko", low.weights[0], *low.factors).flatten(0, 2)
    torch.testing.assert_close(low(*features), fusion.OuterProduct()(*features) @ matrix + low.bias)
    assert parameters(low) == rank * out * sum(size + 1 for size in sizes) + rank + out


def test_multiplicative_is_a_linear_layer_on_the_outer_product() -> None:
    x, y = torch.randn(7, 3), torch.randn(7, 4)
    interaction = fusion.Multiplicative([3, 4], 5)
    matrix = torch.empty(4, 5, 5)  # [1; x] by [1; y] by out
    matrix[1:, 1:], matrix[1:, 0], matrix[0, 1:], matrix[0, 0] = (
        interaction.W,
        interaction.U,
        interaction.V,
        interaction.b,
    )
    torch.testing.assert_close(interaction(x, y), fusion.OuterProduct()(x, y) @ matrix.flatten(0, 1))


def test_maxout_takes_the_larger_of_neighbours() -> None:
    maxout = blocks.Maxout(3, 2)
    x = torch.randn(4, 3)
    pieces = x @ maxout.linear.weight.T + maxout.linear.bias
    expected = torch.stack([pieces[:, 0:2].max(1).values, pieces[:, 2:4].max(1).values], 1)
    torch.testing.assert_close(maxout(x), expected)


def test_gru_last_is_the_output_of_the_last_step() -> None:
    encoder = blocks.GRULast(3, 5)
    x = torch.randn(2, 6, 3)
    torch.testing.assert_close(encoder(x), encoder.gru(x)[0][:, -1])


class TestMulT:
    features, length = (3, 5), 4

    def build(self, **options: bool) -> MulT:
        torch.manual_seed(1)
        return MulT(self.features, width=8, heads=2, layers=1, out=3, length=self.length, **options).eval()

    def sequences(self) -> list[torch.Tensor]:
        return [torch.randn(2, self.length, size) for size in self.features]

    def test_host_costs_change_nothing_but_time(self) -> None:
        plain, costly, sequences = self.build(), self.build(host_costs=True), self.sequences()
        costly.load_state_dict(plain.state_dict())
        torch.testing.assert_close(costly(*sequences), plain(*sequences))

    def test_no_step_sees_a_later_one(self) -> None:
        model, sequences = self.build(all_steps=True), self.sequences()
        changed = [torch.cat([x[:, :-1], x[:, -1:] + 1], 1) for x in sequences]
        before, after = model(*sequences), model(*changed)
        assert before.shape == (2, self.length, 3)
        torch.testing.assert_close(before[:, :-1], after[:, :-1])
        assert not torch.allclose(before[:, -1], after[:, -1])

    def test_last_step_is_the_last_of_all_steps(self) -> None:
        every, last, sequences = self.build(all_steps=True), self.build(), self.sequences()
        last.load_state_dict(every.state_dict())
        torch.testing.assert_close(last(*sequences), every(*sequences)[:, -1])

    def test_attention_is_torchs_own(self) -> None:
        """Self attention against nn.MultiheadAttention with the same weights."""
        attention = self.build().memory[0].layers[0].attention
        twin = torch.nn.MultiheadAttention(16, 2)
        twin.load_state_dict(
            {
                "in_proj_weight": attention.project.weight,
                "in_proj_bias": attention.project.bias,
                "out_proj.weight": attention.out.weight,
                "out_proj.bias": attention.out.bias,
            }
        )
        x, mask = torch.randn(self.length, 2, 16), causal_mask(self.length)
        torch.testing.assert_close(attention(x, mask=mask), twin(x, x, x, attn_mask=mask, need_weights=False)[0])

    def test_positions_count_from_one(self) -> None:
        table = sinusoid(4, 8)
        assert table[0].tolist() == [0] * 8
        torch.testing.assert_close(table[2, [0, 4]], torch.tensor([math.sin(2), math.cos(2)]))


@pytest.mark.parametrize(
    ("features", "options", "count"),
    [
        ((35, 74, 300), {"width": 40, "heads": 8, "layers": 4, "out": 1, "length": 50}, 3_080_321),
        ((64,) * 4, {"width": 64, "heads": 4, "layers": 3, "out": 2, "length": 16, "all_steps": True}, 13_998_082),
        ((256,) * 4 + (32,), {"width": 64, "heads": 4, "layers": 3, "out": 2, "length": 1}, 27_443_586),
    ],
)
def test_mult_sizes_of_the_specification(features: tuple[int, ...], options: dict[str, int], count: int) -> None:
    with torch.device("meta"):
        assert parameters(MulT(features, **options)) == count
