"""Functions that one worker has traced run on the variables of the others, which saves tracing them again.

All workers run the same code: the n-th function that one of them calls is the n-th that another calls, and the k-th
variable of one belongs to the k-th of another. It leans on private names of TensorFlow 2.12.
"""

from __future__ import annotations

import threading
from typing import Any, Dict, Hashable, List, NamedTuple, Optional, Tuple

import tensorflow as tf
from tensorflow.python.eager.polymorphic_function.polymorphic_function import Function

_own = threading.local()  # of a worker's thread: `memory`, where it is one


class _Traced(NamedTuple):
    """A function for arguments of certain shapes, and how its captured tensors are found for another worker."""

    function: Any  # TensorFlow's ConcreteFunction
    captures: List[Tuple[Optional[int], tf.Tensor]]  # the place among the owner's variables, or null: the same for all


class Shared:
    """The traced functions of workers that all do the same; one worker runs at a time."""

    def __init__(self) -> None:
        self._traced: Dict[Tuple[int, Hashable], _Traced] = {}

    def as_worker(self) -> _Memory:
        """A context in which this thread is one of the workers."""
        return _Memory(self)

    def find(self, memory: _Memory, number: int, function: Function, arguments: Tuple[Any, ...]) -> _Traced:
        """The traced form of the worker's function of this number; traced now if no worker has."""
        key = number, tuple(map(_kind, arguments)) if function.input_signature is None else ()
        if key not in self._traced:
            concrete = _get_concrete_function(function, *arguments)
            places = {id(variable.handle): place for place, variable in enumerate(memory.variables)}
            captures = [(places.get(id(tensor)), tensor) for tensor in concrete.captured_inputs]
            lost = [tensor for place, tensor in captures if place is None and tensor.dtype == tf.resource]
            if lost:
                raise RuntimeError(f"{concrete.name} uses variables that no worker made: {lost}")
            self._traced[key] = _Traced(concrete, captures)
        return self._traced[key]


class _Memory:
    """A worker's variables and functions, in the order in which it made and first called them."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.variables: List[tf.Variable] = []
        self._numbers: Dict[int, int] = {}
        self._functions: List[Function] = []  # kept, so that ids stay theirs

    def __enter__(self) -> None:
        _own.memory = self
        self._scope = tf.variable_creator_scope(self._remember)
        self._scope.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._scope.__exit__(*error)
        _own.memory = None

    def _remember(self, create: Any, **options: Any) -> tf.Variable:
        variable = create(**options)
        self.variables.append(variable)
        return variable

    def trace(self, function: Function, arguments: Tuple[Any, ...]) -> _Traced:
        if id(function) not in self._numbers:
            self._numbers[id(function)] = len(self._functions)
            self._functions.append(function)
        return self.shared.find(self, self._numbers[id(function)], function, arguments)

    def call(self, function: Function, arguments: Tuple[Any, ...]) -> Any:
        traced = self.trace(function, arguments)
        flat = [tf.convert_to_tensor(argument) for argument in arguments]
        captured = [tensor if place is None else self.variables[place].handle for place, tensor in traced.captures]
        return traced.function._call_flat(flat, captured)


def _kind(argument: Any) -> Hashable:
    return (argument.dtype, tuple(argument.shape)) if tf.is_tensor(argument) else argument


def _call(function: Function, *arguments: Any, **named: Any) -> Any:
    memory: Optional[_Memory] = getattr(_own, "memory", None)
    if memory is None or tf.inside_function():
        return _call_function(function, *arguments, **named)
    return memory.call(function, arguments)


def _get(function: Function, *arguments: Any, **named: Any) -> Any:
    memory: Optional[_Memory] = getattr(_own, "memory", None)
    if memory is None or tf.inside_function():
        return _get_concrete_function(function, *arguments, **named)
    return memory.trace(function, arguments).function


_call_function, _get_concrete_function = Function.__call__, Function.get_concrete_function
Function.__call__, Function.get_concrete_function = _call, _get
