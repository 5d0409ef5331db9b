"""A recurrent cell run over a sequence, forward and backward, as one autograd function.

Nearly all the time goes into matrix products of a small batch, so the design saves products and
memory traffic: the products with ``x`` are made for all time steps at once, as are the weight
gradients; hidden states that are still zero are not multiplied; weights that do not train get no
gradient. What is left per node and step are single kernels without autograd's bookkeeping.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from gennas_optuna.spaces._recipe_graph import LINEAR, Graph, X

_SLOPE = 0.01  # of the leaky ReLU


class Linear(NamedTuple):
    """A linear node.

    Attributes:
        value: the number of its value, counted without ``x``.
        row: its bias, and its weight on ``x`` if it reads that.
        reads: the other values it reads, each with the number of its weight matrix.
    """

    value: int
    row: int
    reads: tuple[tuple[int, int], ...]


class Elementwise(NamedTuple):
    """Any other node; values are counted without ``x``."""

    value: int
    op: str
    reads: tuple[int, ...]


class Cell:
    """What to compute in a time step, and which weights belong where.

    Attributes:
        hidden: number of hidden states, which are the first values.
        steps: the nodes in the order of their computation.
        linears: the linear ones among them.
        x_rows: how many of these read ``x``; they have the first rows.
        matrices: number of weight matrices for values other than ``x``.
        outputs: the values that become the hidden states.
    """

    def __init__(self, graph: Graph) -> None:
        self.hidden = graph.hidden
        self.outputs = tuple(value - 1 for value in graph.outputs)
        linear = [step for step in graph.steps if step.op == LINEAR]
        self.x_rows = sum(X in step.inputs for step in linear)
        self.matrices = 0
        self.steps: list[Linear | Elementwise] = []
        with_x, without_x = iter(range(self.x_rows)), iter(range(self.x_rows, len(linear)))
        for value, (op, inputs) in enumerate(graph.steps, start=graph.hidden):
            if op == LINEAR:
                reads = [i - 1 for i in inputs if i != X]
                numbers = range(self.matrices, self.matrices + len(reads))
                self.matrices += len(reads)
                row = next(with_x if X in inputs else without_x)
                self.steps.append(Linear(value, row, tuple(zip(reads, numbers, strict=True))))
            else:
                self.steps.append(Elementwise(value, op, tuple(i - 1 for i in inputs)))
        self.linears = tuple(step for step in self.steps if isinstance(step, Linear))


def run_cell(
    cell: Cell,
    x: torch.Tensor,
    x_weight: torch.Tensor,
    bias: torch.Tensor,
    recurrent: torch.Tensor,
    state: Sequence[torch.Tensor] = (),
    spare: dict[int, torch.Tensor] | None = None,
) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    """Run a cell over a sequence.

    Args:
        cell: the cell.
        x: length x batch x width in.
        x_weight: (x rows * width) x width in.
        bias: linear nodes x width.
        recurrent: matrices x width x width.
        state: initial hidden states, each batch x width; zeros by default.
        spare: where ``recurrent`` is put, under its address, once nobody needs it any more.

    Returns:
        The first hidden state after every step, and all after the last step.
    """
    out, *last = cast(
        "tuple[torch.Tensor, ...]",
        _Run.apply(cell, spare, x, x_weight, bias, recurrent, *state),  # type: ignore[no-untyped-call]
    )
    return out, tuple(last)


class _Run(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        cell: Cell,
        spare: dict[int, torch.Tensor] | None,
        x: torch.Tensor,
        x_weight: torch.Tensor,
        bias: torch.Tensor,
        recurrent: torch.Tensor,
        *state: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        length, batch, _ = x.shape
        width = bias.shape[1]
        flat = x.reshape(length * batch, -1)
        driven = torch.addmm(bias[: cell.x_rows].reshape(-1), flat, x_weight.t())
        driven = driven.view(length, batch, cell.x_rows, width)
        matrices = [matrix.t() for matrix in recurrent]
        hidden = list(state) or [x.new_zeros(batch, width)] * cell.hidden
        history: list[list[torch.Tensor]] = []
        for t in range(length):
            values = hidden.copy()
            zeros = cell.hidden if t == 0 and not state else 0
            for step in cell.steps:
                if isinstance(step, Linear):
                    row = step.row
                    value = (
                        driven[t, :, row] if row < cell.x_rows else bias[row].expand(batch, width)
                    )
                    for read, number in step.reads:
                        if read >= zeros:
                            value = torch.addmm(value, values[read], matrices[number])
                    values.append(value)
                else:
                    values.append(_apply(step.op, [values[read] for read in step.reads]))
            history.append(values)
            hidden = [values[output] for output in cell.outputs]
        ctx.cell, ctx.spare, ctx.history, ctx.started = cell, spare, history, bool(state)
        ctx.shape, ctx.width = x.shape, width
        ctx.save_for_backward(flat, x_weight, recurrent)
        ctx.set_materialize_grads(False)
        # The last hidden states are in the history, which a returned tensor must not be.
        return torch.stack([values[cell.outputs[0]] for values in history]), *(
            value.clone() for value in hidden
        )

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: torch.Tensor | None, *grad_last: torch.Tensor | None) -> Any:
        cell: Cell = ctx.cell
        flat, x_weight, recurrent = ctx.saved_tensors
        matrices = list(recurrent)
        (length, batch, _), width = ctx.shape, ctx.width
        _, _, need_x, need_x_weight, _, need_recurrent, *_ = ctx.needs_input_grad
        # The gradients at the linear nodes, from which all weight gradients follow.
        linear = flat.new_empty(length, batch, len(cell.linears), width)
        hidden = list(grad_last)
        for t in reversed(range(length)):
            values = ctx.history[t]
            grads = _Sums(len(values))
            for output, grad in zip(cell.outputs, hidden, strict=True):
                if grad is not None:
                    grads.add(output, grad)
            if grad_out is not None:
                grads.add(cell.outputs[0], grad_out[t])
            zeros = cell.hidden if t == 0 and not ctx.started else 0
            for step in reversed(cell.steps):
                grad = grads[step.value]
                if isinstance(step, Elementwise):
                    if grad is not None:
                        inputs = [values[read] for read in step.reads]
                        terms = _gradients(step.op, grad, inputs, values[step.value])
                        for read, term in zip(step.reads, terms, strict=True):
                            grads.add(read, term)
                elif grad is None:
                    linear[t, :, step.row] = 0
                else:
                    linear[t, :, step.row] = grad
                    for read, number in step.reads:
                        if read >= zeros:
                            grads.add_product(read, grad, matrices[number])
            hidden = grads[: cell.hidden]
        rows = linear.view(length * batch, -1)
        driven = rows[:, : cell.x_rows * width]
        grad_recurrent = None
        if need_recurrent:
            grad_recurrent = torch.empty_like(recurrent)
            for _, row, reads in cell.linears:
                for read, number in reads:
                    source = torch.stack([values[read] for values in ctx.history]).flatten(0, 1)
                    columns = rows[:, row * width : (row + 1) * width]
                    torch.mm(columns.t(), source, out=grad_recurrent[number])
        if ctx.spare is not None:
            ctx.spare[recurrent.data_ptr()] = recurrent
        return (
            None,
            None,
            torch.mm(driven, x_weight).view(ctx.shape) if need_x else None,
            torch.mm(driven.t(), flat) if need_x_weight else None,
            rows.sum(0).view(-1, width),
            grad_recurrent,
            *(hidden if ctx.started else ()),
        )


class _Sums(list[torch.Tensor | None]):
    """Sums of gradients, one for each value; ``None`` is zero. Terms are never changed."""

    def __init__(self, size: int) -> None:
        super().__init__([None] * size)

    def add(self, value: int, term: torch.Tensor) -> None:
        total = self[value]
        self[value] = term if total is None else total + term

    def add_product(self, value: int, grad: torch.Tensor, matrix: torch.Tensor) -> None:
        total = self[value]
        self[value] = torch.mm(grad, matrix) if total is None else torch.addmm(total, grad, matrix)


def _apply(op: str, inputs: list[torch.Tensor]) -> torch.Tensor:
    if op == "activation_tanh":
        return inputs[0].tanh()
    if op == "activation_sigm":
        return inputs[0].sigmoid()
    if op == "activation_leaky_relu":
        return F.leaky_relu(inputs[0], _SLOPE)
    if op == "elementwise_sum":
        return inputs[0] + inputs[1]
    if op == "elementwise_prod":
        return inputs[0] * inputs[1]
    a, b, c = inputs
    return torch.lerp(c, b, a)  # a*b + (1-a)*c


def _gradients(
    op: str, grad: torch.Tensor, inputs: list[torch.Tensor], value: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """The gradients at the inputs, given the one at the value."""
    if op == "activation_tanh":
        return (torch.ops.aten.tanh_backward(grad, value),)
    if op == "activation_sigm":
        return (torch.ops.aten.sigmoid_backward(grad, value),)
    if op == "activation_leaky_relu":  # value and input have one sign
        return (torch.ops.aten.leaky_relu_backward(grad, value, _SLOPE, True),)
    if op == "elementwise_sum":
        return grad, grad
    if op == "elementwise_prod":
        return grad * inputs[1], grad * inputs[0]
    a, b, c = inputs
    to_b = grad * a
    return grad * (b - c), to_b, grad - to_b
