"""Checks the inputs of all of a playbook's roles before the first begins, and reports all problems at once.

Types come from the roles' meta/argument_specs.yml; a number's range follows from the unit at the end of its name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ansible.module_utils.common.validation import check_type_bool, check_type_dict, check_type_list

from trainer.contract.fields import closest, number, shown, whole_number

_UNITS = {  # by the end of the name: what to give, minimum, maximum
    "_s": ("{} of seconds", 0, math.inf),
    "_bytes": ("{} of bytes", 0, math.inf),
    "_bit_per_s": ("{} of bit/s", 0, math.inf),
    "_c": ("{} of degrees Celsius", 0, math.inf),
    "_w": ("{} of watts", 0, 1e6),
    "_fraction": ("{} from 0 to 1", 0, 1),
    "_port": ("a port from 1024 to 65532", 1024, 65532),  # the next three are the kit's too
}
_OTHERS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "bool": (check_type_bool, "true or false"),
    "list": (check_type_list, "a list"),
    "dict": (check_type_dict, "a mapping"),
}
_BELOW = {  # the second one must be greater, for a reason
    ("train_idle_s", "train_silence_limit_s"): "a board that is silent for train_silence_limit_s ({:g} s) is cut off",
}


def problems_with(specs: Mapping[str, Mapping[str, Any]], values: Mapping[str, Any]) -> list[str]:
    """A sentence with a remedy for each invalid input.

    `specs`: options by name, as in argument_specs.yml; `values`: known values by name. Null is allowed if the option
    has no default.
    """
    found = [sentence for name, value in values.items() for sentence in _problems(name, value, specs[name])]
    for (low, high), why in _BELOW.items():
        below, above = number(values.get(low)), number(values.get(high))
        if below is not None and above is not None and below >= above:
            found.append(f"{low} is {below:g}, but {why.format(above)}: lower {low}, or raise {high}")
    return found


def _problems(name: str, value: Any, option: Mapping[str, Any]) -> Iterator[str]:
    kind = option.get("type", "str")
    if kind == "raw" and option.get("default") is not None:  # Ansible would report it first and alone
        kind = type(option["default"]).__name__
    if value is None and option.get("default") is None:
        return
    if kind in ("int", "float"):
        yield from _number(name, value, option, whole=kind == "int")
    elif kind in _OTHERS:
        check, wanted = _OTHERS[kind]
        try:
            check(value)
        except TypeError:
            yield f"{name} is {shown(value)}; give {wanted}"
    elif kind == "str" and isinstance(value, float):
        yield f"{name} is {value}, a number, and 2.10 would become 2.1: put it in quotes"
    elif "choices" in option and value not in option["choices"]:
        known = ", ".join(choice or "''" for choice in option["choices"])
        yield f"{name} is {shown(value)}; give one of {known}{closest(str(value), option['choices'])}"


def _number(name: str, value: Any, option: Mapping[str, Any], whole: bool) -> Iterator[str]:
    found = whole_number(value) if whole else number(value)
    given = "{}", 0, math.inf
    unit, least, most = next((known for end, known in _UNITS.items() if name.endswith(end)), given)
    if found is None or not least <= found <= most or not math.isfinite(found):
        wanted = unit.format("a whole number" if whole else "a number")
        example = f", such as {option['default']}" if option.get("default") is not None else ", or leave it out"
        yield f"{name} is {shown(value)}; give {wanted}{example}"
