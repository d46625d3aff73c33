"""The networks: a window of rows in, one return or one score per class out."""

import math

import torch
from torch import Tensor, nn

from trainer.experiment.training import Data, Model, Train


def build(
    model: Model, *, window: int, features: int, outputs: int, targets: tuple[float, float] | None = None
) -> nn.Module:
    """A freshly initialised network, by torch's global seed.

    It maps [batch, window, features] to [batch] where `outputs` is 1 (regression), else to [batch, outputs] (logits).
    With `targets`, their mean and deviation, it learns scaled ones, and gives them in their own units.
    """
    body: nn.Module
    match model.kind:
        case "MLP":
            body = mlp(model, window * features)
        case "LSTM":
            body = Lstm(model, features)
        case "Transformer":
            body = Transformer(model, window, features)
    network = Network(body, nn.Linear(model.hidden_size, outputs))
    return network if targets is None else Rescaled(network, *targets)


class Rescaled(nn.Module):
    """A network that learns targets scaled by their mean and deviation, and gives them in their own units."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, network: nn.Module, mean: float, deviation: float) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("deviation", torch.tensor(deviation))

    def forward(self, x: Tensor) -> Tensor:
        """[batch, window, features] -> [batch]."""
        scaled: Tensor = self.network(x)
        return scaled * self.deviation + self.mean


def outputs_for(data: Data) -> int:
    """How many outputs a network for this task has."""
    return data.classes if data.task == "Classification" else 1


def dtype_of(train: Train) -> torch.dtype:
    """The type of weights and samples."""
    return torch.float64 if train.precision == "Float64" else torch.float32


class Network(nn.Module):
    """A body that makes one vector per sample, and a linear head."""

    def __init__(self, body: nn.Module, head: nn.Linear) -> None:
        super().__init__()
        self.body = body
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        """[batch, window, features] -> [batch] or [batch, outputs]."""
        scores = self.head(self.body(x))
        return scores.squeeze(1) if self.head.out_features == 1 else scores


def mlp(model: Model, inputs: int) -> nn.Module:
    """The window flattened, then `layers` times linear, ReLU, dropout."""
    layers: list[nn.Module] = [nn.Flatten()]
    for _ in range(model.layers):
        layers += [nn.Linear(inputs, model.hidden_size), nn.ReLU()]
        if model.dropout:
            layers.append(nn.Dropout(model.dropout))
        inputs = model.hidden_size
    return nn.Sequential(*layers)


class Lstm(nn.Module):
    """Stacked LSTM layers; the last step's hidden state speaks for the window."""

    def __init__(self, model: Model, features: int) -> None:
        super().__init__()
        # Between layers only: torch warns about dropout where there is a single one.
        between = model.dropout if model.layers > 1 else 0.0
        self.lstm = nn.LSTM(features, model.hidden_size, model.layers, batch_first=True, dropout=between)
        self.dropout = nn.Dropout(model.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, window, features] -> [batch, hidden]."""
        steps, _ = self.lstm(x)
        return self.dropout(steps[:, -1])


class Transformer(nn.Module):
    """A pre-norm encoder over the rows of the window; their mean speaks for it."""

    positions: Tensor

    def __init__(self, model: Model, window: int, features: int) -> None:
        super().__init__()
        self.embed = nn.Linear(features, model.hidden_size)
        self.register_buffer("positions", sinusoids(window, model.hidden_size), persistent=False)
        layer = nn.TransformerEncoderLayer(
            model.hidden_size,
            model.heads,
            dim_feedforward=4 * model.hidden_size,
            dropout=model.dropout,
            batch_first=True,
            norm_first=True,
        )
        norm = nn.LayerNorm(model.hidden_size)
        self.encoder = nn.TransformerEncoder(layer, model.layers, norm, enable_nested_tensor=False)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, window, features] -> [batch, hidden]."""
        encoded: Tensor = self.encoder(self.embed(x) + self.positions)
        return encoded.mean(dim=1)


def sinusoids(window: int, width: int) -> Tensor:
    """Fixed position codes [window, width], after Vaswani et al. 2017, section 3.5."""
    position = torch.arange(window, dtype=torch.float64).unsqueeze(1)
    rate = torch.exp(torch.arange(0, width, 2, dtype=torch.float64) * (-math.log(10_000.0) / width))
    codes = torch.zeros(window, width, dtype=torch.float64)
    codes[:, 0::2] = torch.sin(position * rate)
    codes[:, 1::2] = torch.cos(position * rate)[:, : width // 2]
    return codes.to(torch.get_default_dtype())
