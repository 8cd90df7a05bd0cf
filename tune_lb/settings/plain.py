"""Plain numbers: NumPy's and torch's single numbers in settings become Python's."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any


def plain(value: Any) -> Any:
    """Return the value with every single number of NumPy or torch in it as Python's own; the same object where there is none.

    Looked at are tuples, lists, dicts, functools.partial and the fields of dataclasses, at any depth. So np.float64(0.1) is
    printed as 0.1, and means the same trial. Arrays with dimensions are left as they are.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [field.name for field in dataclasses.fields(value) if field.init]
        changed = {name: made for name in fields if (made := plain(old := getattr(value, name))) is not old}
        return dataclasses.replace(value, **changed) if changed else value
    if isinstance(value, functools.partial):
        args, keywords = plain(value.args), plain(value.keywords)
        same = args is value.args and keywords is value.keywords
        return value if same else functools.partial(value.func, *args, **keywords)
    if type(value) in (tuple, list):
        made = [plain(entry) for entry in value]
        return value if all(a is b for a, b in zip(made, value, strict=True)) else type(value)(made)
    if type(value) is dict:
        entries = {plain(key): plain(entry) for key, entry in value.items()}
        return value if all(entry is value.get(key) for key, entry in entries.items()) else entries
    # asked of its shape, so that neither library is imported for it; a parameter of a network is no number
    is_number = (
        getattr(value, "shape", None) == () and hasattr(value, "item") and not hasattr(value, "named_parameters")
    )
    return value.item() if is_number and not isinstance(value, type) else value


def made_plain(settings: Any) -> None:
    """Do so to the fields of a frozen dataclass that is being made: for its __post_init__."""
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if (made := plain(value)) is not value:
            object.__setattr__(settings, field.name, made)
