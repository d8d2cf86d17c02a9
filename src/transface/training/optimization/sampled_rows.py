"""Lets any torch optimizer move only the rows of a parameter that have a gradient: no weight decay, momentum or Adam
step on the others.

A parameter with a sparse gradient (partial_fc's sampled centres) is stepped as if each of its rows were a parameter of
its own that was there only in the steps that sampled it: the rows and their moments are gathered, stepped by the
optimizer's own code, and put back.
Shapes: R rows of a parameter, S rows sampled, E columns.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import Optimizer


class BorrowedRows(NamedTuple):
    """The sampled rows of one parameter while they are parameters of their own.

    Attributes:
        owner: the parameter (R, E).
        rows: (S,) which, ordered by their number of steps so far.
        values: (S, E) the rows, which the optimizer changes.
        parts: views of `values`, one per number of steps so far; the optimizer's parameters.
    """

    owner: Tensor
    rows: Tensor
    values: Tensor
    parts: list[Tensor]


class SampledRows(Optimizer):
    """Mixin before an optimizer class: `class AdamW(SampledRows, torch.optim.AdamW)`. Parameters with dense gradients
    step as ever.

    The state of a row-wise parameter: its tensors (R, E) as the optimizer names them, its scalars (Adam's step) as
    (R,), and for an optimizer that counts no steps "moves" (R,), how often each row has moved. state_dict holds it like
    any other state. Optimizers that mix elements across rows (LARS, Muon, Shampoo) cannot step rows apart and are
    refused.
    """

    steps_sampled_rows = True

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Take one step and return the closure's loss, if there is a closure."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        whole = [group["params"] for group in self.param_groups]
        borrowed: list[BorrowedRows] = []
        try:
            for group in self.param_groups:
                group["params"] = list(self._replaced(group, borrowed))
            super().step()
        finally:
            for group, parameters in zip(self.param_groups, whole, strict=True):
                group["params"] = parameters
        for rows in borrowed:
            self._give_back(rows)
        return loss

    def _replaced(self, group: dict[str, Any], borrowed: list[BorrowedRows]) -> Iterator[Tensor]:
        for parameter in group["params"]:
            gradient = parameter.grad
            if gradient is None or not (gradient.is_sparse or self._stays_rowwise(parameter)):
                yield parameter
                continue
            rows = self._borrow(parameter, on_device=bool(group.get("fused") or group.get("capturable")))
            borrowed.append(rows)
            yield from rows.parts

    def _stays_rowwise(self, parameter: Tensor) -> bool:
        state = self.state.get(parameter, {})
        if is_rowwise(state):
            gather_state(state)
        return is_rowwise(state)

    @torch.no_grad()
    def _borrow(self, owner: Tensor, *, on_device: bool) -> BorrowedRows:
        rows, gradient = _rows_and_gradient(owner)
        state = self.state[owner]
        if state and not is_rowwise(state):
            spread_state(state, owner)
        rows, order, counts = _order_by_steps(state, rows)
        values = owner.index_select(0, rows)
        gradient = gradient.index_select(0, order)
        tensors = {name: value.index_select(0, rows) for name, value in state.items() if value.ndim > 1}
        scalars = {
            name: value.to(rows.device).index_select(0, rows) for name, value in state.items() if value.ndim == 1
        }
        parts, start = [], 0
        for count in counts:
            part = slice(start, start + count)
            value = values[part]
            value.grad = gradient[part]
            first = {name: scalar[start].to(rows.device if on_device else "cpu") for name, scalar in scalars.items()}
            if first and _moves(first) > 0:
                first.pop("moves", None)
                self.state[value] = first | {name: tensor[part] for name, tensor in tensors.items()}
            parts.append(value)
            start += count
        return BorrowedRows(owner, rows, values, parts)

    @torch.no_grad()
    def _give_back(self, borrowed: BorrowedRows) -> None:
        owner, rows = borrowed.owner, borrowed.rows
        owner.index_copy_(0, rows, borrowed.values)
        state = self.state[owner]
        start = 0
        for part in borrowed.parts:
            here = rows[start : start + len(part)]
            start += len(part)
            moved = self.state.pop(part, {})
            for name, value in moved.items():
                _put(state, name, value, rows=here, owner=owner, optimizer=self)
        if len(rows) and "step" not in state:  # without rows no one knows yet whether the optimizer counts for itself
            count = state.setdefault("moves", owner.new_zeros(len(owner), dtype=torch.float32))
            count.index_add_(0, rows, torch.ones_like(rows, dtype=count.dtype))


def is_rowwise(state: dict[str, Any]) -> bool:
    """Return whether a parameter's state is kept per row."""
    count = state.get("step", state.get("moves"))
    return isinstance(count, Tensor) and count.ndim == 1


def spread_state(state: dict[str, Any], owner: Tensor) -> None:
    """Turn the state of a parameter (R, E) that was stepped as a whole into state per row, in place."""
    for name, value in list(state.items()):
        if value is None:
            del state[name]
        elif not isinstance(value, Tensor) or value.ndim == 0:
            state[name] = torch.full((len(owner),), float(value), device=owner.device)
    if "step" not in state:
        state["moves"] = torch.ones(len(owner), device=owner.device)


def gather_state(state: dict[str, Any]) -> None:
    """Turn state per row into the state of a whole parameter, in place, if all rows have taken the same number of
    steps.
    """
    vectors = {name: value for name, value in state.items() if isinstance(value, Tensor) and value.ndim == 1}
    if not vectors or any(not len(value) or (value != value[0]).any() for value in vectors.values()):
        return
    for name, value in vectors.items():
        state[name] = value[0].to("cpu", copy=True)
    if state.pop("moves", 1) == 0:
        state.clear()


def state_by_row(optimizer: Optimizer, parameter: Tensor) -> dict[str, Tensor]:
    """Return the optimizer's state of a parameter (R, E) as tensors of R rows, scalars repeated: the form that is saved
    and split anew.
    """
    state = dict(optimizer.state.get(parameter, {}))
    if state and not is_rowwise(state):
        spread_state(state, parameter)
    return state


def set_state_by_row(optimizer: Optimizer, parameter: Tensor, state: dict[str, Tensor]) -> None:
    """Give the optimizer the state of a parameter as `state_by_row` returned it, as a whole parameter's where its rows
    agree.
    """
    own = {name: value.to(parameter.device) for name, value in state.items()}
    gather_state(own)
    optimizer.state[parameter] = own


def _rows_and_gradient(owner: Tensor) -> tuple[Tensor, Tensor]:
    gradient = owner.grad
    assert gradient is not None, "only parameters with a gradient are borrowed"
    if not gradient.is_sparse:
        return torch.arange(len(owner), device=owner.device), gradient
    gradient = gradient.coalesce()
    return gradient.indices()[0], gradient.values()


def _order_by_steps(state: dict[str, Any], rows: Tensor) -> tuple[Tensor, Tensor, list[int]]:
    """Return rows ordered by their steps so far, that order, and how many rows there are of each."""
    if not state:
        return rows, torch.arange(len(rows), device=rows.device), [len(rows)] if len(rows) else []
    # An optimizer without a count of its own (SGD) treats all rows that have moved alike.
    steps = (
        state["step"].to(rows.device)[rows] if "step" in state else (state["moves"].to(rows.device)[rows] > 0).float()
    )
    steps, order = torch.sort(steps, stable=True)
    counts = torch.unique_consecutive(steps, return_counts=True)[1]
    return rows[order], order, counts.tolist()


def _moves(scalars: dict[str, Tensor]) -> float:
    return float(scalars["step"] if "step" in scalars else scalars["moves"])


def _put(state: dict[str, Any], name: str, value: Any, *, rows: Tensor, owner: Tensor, optimizer: Optimizer) -> None:
    """Write what the optimizer keeps about some rows into the state of all rows, made on first use."""
    if value is None:
        return
    if (
        isinstance(value, Tensor)
        and value.ndim == owner.ndim
        and value.shape[1:] == owner.shape[1:]
        and len(value) == len(rows)
    ):
        whole = state.setdefault(name, torch.zeros_like(owner, memory_format=torch.preserve_format))
        whole.index_copy_(0, rows, value.to(whole.dtype))
        return
    if isinstance(value, Tensor) and value.numel() != 1:
        kind, shape = type(optimizer).__name__, tuple(value.shape)
        raise TypeError(
            f"{kind} keeps {name} of shape {shape}, which is not per element: it cannot step sampled rows; use AdamW"
            " or SGD"
        )
    scalars = state.setdefault(name, torch.zeros(len(owner), device=owner.device))
    if scalars.device != owner.device:
        state[name] = scalars = scalars.to(owner.device)
    scalars.index_fill_(0, rows, float(value))
