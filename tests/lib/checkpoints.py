"""Whether an async function has a checkpoint on each way to its return, from its source alone."""

import ast
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

Function = ast.AsyncFunctionDef


@dataclass
class _Flow:
    """What has been awaited so far. ``reached`` False: nothing comes here any more."""

    awaited: bool = False
    reached: bool = True


def _join(*flows: _Flow) -> _Flow:
    alive = [flow for flow in flows if flow.reached]
    return _Flow(all(flow.awaited for flow in alive), bool(alive))


@dataclass
class Paths:
    """Of one function. ``quiet``: the functions whose await is no checkpoint, as they are called:
    ``"_wait"``, or ``"stream.send"`` where others have the name as well.

    A call that raises is no return. A loop may run no time at all, unless it is ``while True``,
    and an ``async for`` asks its iterator at least once.
    """

    quiet: Collection[str]
    returns: list[_Flow] = field(default_factory=list)
    _breaks: list[list[_Flow]] = field(default_factory=list)

    def always_checkpoint(self, function: Function) -> bool:
        self.returns.append(self._block(function.body, _Flow()))
        return all(flow.awaited for flow in self.returns if flow.reached)

    def _block(self, body: Sequence[ast.stmt], flow: _Flow) -> _Flow:
        for statement in body:
            if not flow.reached:
                break
            flow = self._statement(statement, flow)
        return flow

    def _statement(self, node: ast.stmt, flow: _Flow) -> _Flow:
        match node:
            case ast.Return():
                self.returns.append(_Flow(flow.awaited or self._awaits(node.value)))
                return _Flow(reached=False)
            case ast.Raise() | ast.Continue():
                return _Flow(reached=False)
            case ast.Break():
                self._breaks[-1].append(flow)
                return _Flow(reached=False)
            case ast.If():
                flow = _Flow(flow.awaited or self._awaits(node.test))
                return _join(self._block(node.body, flow), self._block(node.orelse, flow))
            case ast.While():
                flow = _Flow(flow.awaited or self._awaits(node.test))
                endless = isinstance(node.test, ast.Constant) and bool(node.test.value)
                return self._loop(node, flow, _Flow(reached=False) if endless else flow)
            case ast.For():
                return self._loop(node, flow, _Flow(flow.awaited or self._awaits(node.iter)))
            case ast.AsyncFor():
                asks = self._is_checkpoint(node.iter)
                return self._loop(node, _Flow(asks), _Flow(flow.awaited or asks))
            case ast.With() | ast.AsyncWith():
                found = flow.awaited or any(self._awaits(each.context_expr) for each in node.items)
                if isinstance(node, ast.AsyncWith):
                    found = found or any(not _is_nursery(each) for each in node.items)
                after = self._block(node.body, _Flow(found))
                # A scope may end its body early, at a checkpoint then.
                if isinstance(node, ast.AsyncWith) and _starts_tasks(node):
                    return _Flow(awaited=True, reached=after.reached)  # as it waits for them
                if _may_be_cancelled(node):  # which is at a checkpoint
                    return _Flow(after.awaited or not after.reached)
                return after
            case ast.Try():
                return self._try(node, flow)
            case ast.Match():
                ways = [self._block(case.body, flow) for case in node.cases]
                return _join(*ways, flow)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                return flow
        return _Flow(flow.awaited or self._awaits(node))

    def _loop(self, node: ast.While | ast.For | ast.AsyncFor, inside: _Flow, after: _Flow) -> _Flow:
        self._breaks.append([])
        self._block(node.body, inside)
        breaks = self._breaks.pop()
        return _join(*breaks, self._block(node.orelse, after))

    def _try(self, node: ast.Try, flow: _Flow) -> _Flow:
        body = self._block(node.orelse, self._block(node.body, flow))
        ends = _join(body, *(self._block(each.body, flow) for each in node.handlers))
        if not node.finalbody:
            return ends
        last = self._block(node.finalbody, _Flow())
        return _Flow(ends.awaited or last.awaited, ends.reached and last.reached)

    def _awaits(self, node: ast.AST | None) -> bool:
        """Does evaluating this await for sure? What is within ``and``, ``or``, an ``if``
        expression, a comprehension or a lambda may not come to it."""
        if node is None:
            return False
        match node:
            case ast.Await():
                return self._is_checkpoint(node.value) or self._awaits(node.value)
            case ast.BoolOp():
                return self._awaits(node.values[0])
            case ast.IfExp():
                both = self._awaits(node.body) and self._awaits(node.orelse)
                return both or self._awaits(node.test)
            case ast.Lambda():
                return False
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                first = node.generators[0]
                asks = bool(first.is_async) and self._is_checkpoint(first.iter)
                return asks or self._awaits(first.iter)
        return any(self._awaits(child) for child in ast.iter_child_nodes(node))

    def _is_checkpoint(self, awaited: ast.expr) -> bool:
        function = awaited.func if isinstance(awaited, ast.Call) else awaited
        parts = ast.unparse(function).split(".")
        return not any(".".join(parts[at:]) in self.quiet for at in range(len(parts)))


def _is_nursery(item: ast.withitem) -> bool:
    """Entering one is no checkpoint; entering any other asynchronous one is counted as its own."""
    return "open_nursery" in ast.unparse(item.context_expr)


def _starts_tasks(node: ast.AsyncWith) -> bool:
    nursery = any(_is_nursery(each) for each in node.items)
    return nursery and any(".start_soon(" in ast.unparse(each) for each in node.body)


def _may_be_cancelled(node: ast.With | ast.AsyncWith) -> bool:
    return any("trio." in ast.unparse(each.context_expr) for each in node.items)


def is_abstract(function: Function) -> bool:
    """A Protocol's: its docstring, and nothing else."""
    body = [each for each in function.body if not isinstance(each, ast.Expr)]
    return not body and not any(isinstance(each, ast.Await) for each in ast.walk(function))
