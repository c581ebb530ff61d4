"""Grids and options as pydantic models: one schema for suite files, command lines and Python."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo

from graphnoise import checks
from graphnoise.bench import options
from graphnoise.bench.options import Spec

MAX_SEEDS = 10_000

Check = Callable[[str, Any], Any]


def checked(check: Check) -> BeforeValidator:
    """Return a validator from a check, which gets the name of the field and its value, and returns the value."""
    return BeforeValidator(lambda value, info: check(info.field_name, value))


def each(check: Check) -> BeforeValidator:
    """Return a validator of lists: at least one entry, each passed through a check; equal entries count once."""

    def validate(values: Any, info: ValidationInfo) -> tuple[Any, ...]:
        name = str(info.field_name)
        if isinstance(values, str) or not isinstance(values, Sequence) or not values:
            checks.fail(name, "a list with at least one entry", repr(values))
        unique: list[Any] = []
        for value in (check(name, value) for value in values):
            if value not in unique:
                unique.append(value)
        return tuple(unique)

    return BeforeValidator(validate)


def one_of(*choices: str) -> BeforeValidator:
    """Return a validator of names; others are refused with the nearest one."""
    return checked(lambda name, value: checks.choice(name, value, choices))


def or_none(check: Check) -> BeforeValidator:
    """Return a validator that lets None pass, and calls a check with other values."""
    return checked(lambda name, value: None if value is None else check(name, value))


def text(name: str, value: object) -> str:
    """Return a text of one line."""
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        checks.fail(name, "a text of one line", repr(value))
    return value


def flag(name: str, value: object) -> bool:
    """Return true or false."""
    if not isinstance(value, bool):
        checks.fail(name, "true or false", repr(value))
    return value


def integer(low: int, high: int | None = None) -> BeforeValidator:
    """Return a validator of integers within bounds."""
    return checked(partial(_integer, low, high))


def real(low: float, high: float) -> BeforeValidator:
    """Return a validator of finite numbers within bounds."""
    return checked(lambda name, value: checks.real(name, value, low, high))


def integers(low: int, high: int) -> BeforeValidator:
    """Return a validator of lists of integers within bounds."""
    return each(partial(_integer, low, high))


def some_of(*choices: str) -> BeforeValidator:
    """Return a validator of lists of names."""
    return each(lambda name, value: checks.choice(name, value, choices))


def _integer(low: int, high: int | None, name: str, value: object) -> int:
    return checks.integer(name, value, low, high)


Flag = Annotated[bool, checked(flag)]
Names = Annotated[tuple[str, ...], each(text)]
Rates = Annotated[tuple[float, ...], each(checks.rate)]
Specs = Annotated[tuple[Spec, ...], each(options.parse)]
Seed = Annotated[int, integer(0)]
Count = Annotated[int, integer(1, MAX_SEEDS)]


def option(default: Any, help: str, name: str = "", **extra: Any) -> Any:
    """Return a field with its default, and the help and the name of its option (by default `--first-seed`)."""
    return Field(default, description=help, json_schema_extra={**({"option": name} if name else {}), **extra})


def option_text(value: Any) -> str:
    """Return a value as an option takes it.

    Example:
        >>> option_text(True), option_text(0.50), option_text("cora")
        ('yes', '0.5', 'cora')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


class Model(BaseModel):
    """Fields whose validators raise `InputError`, as unknown fields do."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    def __init__(self, **values: Any) -> None:
        for key in values:
            checks.choice("key", key, type(self).model_fields)
        try:
            super().__init__(**values)
        except ValidationError as error:
            first = error.errors()[0]
            cause, field = first.get("ctx", {}).get("error"), str(first["loc"][0])
            if not isinstance(cause, checks.InputError):
                checks.fail(".".join(map(str, first["loc"])), first["msg"], repr(first["input"]))
            named = re.match(rf"{field}\b", checks.renamed(str(cause), self.field_names()))
            raise checks.InputError(str(cause) if named else f"{field}: {cause}") from None

    @classmethod
    def option_names(cls) -> dict[str, str]:
        """Return the option of each field; fields with `exclude` have none."""
        fields: dict[str, Any] = {key: field for key, field in cls.model_fields.items() if not field.exclude}
        names = {key: field.json_schema_extra.get("option", key) for key, field in fields.items()}
        return {key: "--" + name.removeprefix("--").replace("_", "-") for key, name in names.items()}

    @classmethod
    def field_names(cls) -> dict[str, str]:
        """Return the fields by the words of their options, by which messages of checks may name them."""
        return {option.strip("-").replace("-", "_"): key for key, option in cls.option_names().items()}


class GridModel(Model):
    """Fields that the grids of all tasks have; every list is crossed with every other. Raises `InputError`."""

    datasets: Names = option(("cora",), "Data sets, separated by commas.", "--dataset")
    methods: Specs = option(("lp",), "Methods, separated by commas; NAME:KEY=VALUE sets an option.", "--method")
    seeds: Count = option(10, "Number of seeds.")
    first_seed: Seed = option(0, "The first seed.")
