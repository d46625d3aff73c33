"""The networks: shapes, sizes and what dropout and seeds do to them."""

import pytest
import torch

from train.builders import a_training
from trainer.training.models import build, dtype_of, outputs_for, sinusoids

KINDS = ["MLP", "LSTM", "Transformer"]


def a_model(kind: str, *, outputs: int = 1, window: int = 6, features: int = 3, **fields: object) -> torch.nn.Module:
    return build(a_training(model={"kind": kind, **fields}).model, window=window, features=features, outputs=outputs)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("hidden", "heads"), [(1, 1), (7, 1), (9, 3), (16, 4)])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("outputs", [1, 2, 5])
def test_windows_go_in_and_one_figure_or_a_score_per_class_comes_out(
    kind: str, hidden: int, heads: int, layers: int, outputs: int
) -> None:
    model = a_model(kind, outputs=outputs, hiddenSize=hidden, heads=heads, layers=layers, dropout=0.1)
    for batch in (1, 4):
        expected = (batch,) if outputs == 1 else (batch, outputs)
        assert model(torch.zeros(batch, 6, 3)).shape == expected


@pytest.mark.parametrize("kind", KINDS)
def test_a_window_of_one_row_of_one_column_is_enough(kind: str) -> None:
    model = a_model(kind, window=1, features=1, hiddenSize=4)
    assert model(torch.ones(2, 1, 1)).shape == (2,)


@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_learns(kind: str) -> None:
    model = a_model(kind, hiddenSize=8, layers=2)
    model(torch.randn(5, 6, 3)).square().sum().backward()
    assert [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()] == []


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_a_windows_rows_matters(kind: str) -> None:
    torch.manual_seed(0)
    model = a_model(kind, hiddenSize=8).eval()
    x = torch.randn(4, 6, 3)
    assert not torch.allclose(model(x), model(x.flip(1)))


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_acts_only_while_training(kind: str) -> None:
    model = a_model(kind, hiddenSize=32, layers=2, dropout=0.5)
    x = torch.randn(4, 6, 3)
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))


@pytest.mark.parametrize("kind", KINDS)
def test_an_lstm_of_one_layer_has_its_dropout_after_it(kind: str) -> None:
    model = a_model(kind, hiddenSize=32, layers=1, dropout=0.5)
    x = torch.randn(4, 6, 3)
    assert not torch.equal(model(x), model(x))


def test_search_spaces_reach_the_network() -> None:
    sizes = {
        (hidden, layers): sum(p.numel() for p in a_model("MLP", hiddenSize=hidden, layers=layers).parameters())
        for hidden in (4, 8)
        for layers in (1, 2)
    }
    # 18 inputs: 18h + h into the first layer, h² + h for each further one, h + 1 for the head.
    assert sizes == {(4, 1): 81, (4, 2): 101, (8, 1): 161, (8, 2): 233}


def test_position_codes_are_those_of_the_paper() -> None:
    codes = sinusoids(3, 5)
    assert codes.shape == (3, 5)
    assert codes[0].tolist() == [0.0, 1.0, 0.0, 1.0, 0.0]
    assert codes[2, 2].item() == pytest.approx(torch.sin(torch.tensor(2 / 10_000 ** (2 / 5))).item())


def test_a_task_decides_the_outputs_and_a_precision_the_type() -> None:
    assert outputs_for(a_training(data={"classes": 5}).data) == 1
    assert outputs_for(a_training(data={"task": "Classification", "classes": 5}).data) == 5
    assert dtype_of(a_training(train={"precision": "Float64"}).train) is torch.float64
    assert dtype_of(a_training().train) is torch.float32
