"""The NAS-Bench-NLP network written as plainly as can be: a loop over time steps and nodes.

The fast one is checked and timed against it (see ``benchmarks/nlp_cell.py``). Weight drop is done
as GenNAS does it: masked copies of the weights are made once per sequence, as leaves of their
own, so that the stored weights never get a gradient.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


def node_weights(layer, recipe):
    """Per linear node of the recipe: views of the fast layer's weights, one an input, and bias."""
    width = layer.bias.shape[1]
    x_weights = layer.x_weight.view(-1, width, layer.x_weight.shape[1])
    nodes = [node for node in recipe if node.op == "linear"]
    for node, linear in zip(nodes, layer.cell.linears, strict=True):
        numbers = iter(number for _, number in linear.reads)
        weights = [
            x_weights[linear.row] if name == "x" else layer.recurrent[next(numbers)]
            for name in node.inputs
        ]
        yield node, weights, layer.bias[linear.row]


class PlainLayer(nn.Module):
    """Starts with the weights of the fast layer ``like``."""

    def __init__(self, like, recipe, weight_drop: float) -> None:
        super().__init__()
        self.recipe, self.weight_drop = recipe, weight_drop
        self.width = like.bias.shape[1]
        self.states = sum(f"h_new_{i}" in [node.name for node in recipe] for i in range(3))
        self.index, self.weights = {}, nn.ModuleList()
        for node, weights, bias in node_weights(like, recipe):
            self.index[node.name] = len(self.weights)
            self.weights.append(nn.ParameterList([w.detach().clone() for w in (*weights, bias)]))

    def forward(self, x):
        weights = {node.name: self.masked(node) for node in self.recipe if node.op == "linear"}
        state = [x.new_zeros(x.shape[1], self.width) for _ in range(self.states)]
        outputs = []
        for x_t in x:
            values = {"x": x_t} | {f"h_prev_{i}": h for i, h in enumerate(state)}
            for node in self.recipe:
                inputs = [values[name] for name in node.inputs]
                values[node.name] = compute(node.op, inputs, weights.get(node.name))
            state = [values[f"h_new_{i}"] for i in range(self.states)]
            outputs.append(state[0])
        return torch.stack(outputs)

    def masked(self, node):
        weights = list(self.weights[self.index[node.name]])
        if self.training and self.weight_drop:
            for k, name in enumerate(node.inputs):
                if name != "x":
                    weights[k] = nn.Parameter(F.dropout(weights[k].detach(), self.weight_drop))
        return weights


def compute(op, inputs, weights):
    if op == "linear":
        *matrices, bias = weights
        return sum(F.linear(i, w) for i, w in zip(inputs, matrices, strict=True)) + bias
    if op == "blend":
        return inputs[0] * inputs[1] + (1 - inputs[0]) * inputs[2]
    if op == "elementwise_prod":
        return inputs[0] * inputs[1]
    if op == "elementwise_sum":
        return inputs[0] + inputs[1]
    if op == "activation_tanh":
        return torch.tanh(inputs[0])
    if op == "activation_sigm":
        return torch.sigmoid(inputs[0])
    return F.leaky_relu(inputs[0], 0.01)


class PlainNet(nn.Module):
    """Starts with the weights of the fast network ``like``; in training mode with all drops."""

    def __init__(self, like, recipe, weight_drop: float = 0.1) -> None:
        super().__init__()
        self.embedding = nn.Linear(like.embedding.in_features, like.embedding.out_features)
        self.embedding.load_state_dict(like.embedding.state_dict())
        self.layers = nn.ModuleList(
            [PlainLayer(layer, recipe, weight_drop) for layer in like.layers]
        )

    def forward(self, x):
        x = self.embedding(x)
        for i, layer in enumerate(self.layers, start=1):
            x = layer(x)
            if self.training:
                keep = 0.9 if i == len(self.layers) else 0.75
                x = x * torch.empty_like(x[:1]).bernoulli_(keep) / keep
        return (x,)
