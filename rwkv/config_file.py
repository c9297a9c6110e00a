"""Configuration files: read, checked once, and all problems reported together (spec 8)."""

import difflib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from rwkv.config import Config
from rwkv.config_values import Rule
from rwkv.errors import ConfigError
from rwkv.files import check_input, open_descriptor
from rwkv.plurals import counted

AnyConfig = TypeVar("AnyConfig", bound=Config)

# Limits of a file: bytes, and dots in a line. A real one has about a thousand bytes.
_MOST_BYTES, _MOST_DOTS = 1 << 20, 500
# Limits of an error message.
_MOST_UNKNOWN, _MOST_LETTERS = 20, 80


def load_config(
    path: Path, cls: type[AnyConfig], settings: Sequence[tuple[str, str]] = (), **overrides: object
) -> AnyConfig:
    """Read a configuration from a TOML file.

    Args:
        path: The file.
        cls: The configuration's class.
        settings: Keys and values of `--set`, which override the file. A value is TOML, or text without quotes.
        overrides: Fields set by flags, which override both.

    Raises:
        ConfigError: The file is unreadable, or some values are wrong. The error names every problem.
    """
    table, rules = _read_table(path), _rules(cls)
    table |= {key: _set_value(text, rules.get(key)) for key, text in settings}
    table |= {name.upper(): value for name, value in overrides.items()}
    return parse_config(table, cls, f"{path} and --set" if settings else str(path))


def _read_table(path: Path) -> dict[str, object]:
    if open_descriptor(path) is None:  # the shell's <(...) is a pipe that ends
        check_input(path)
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise ValueError(f"more than {_MOST_BYTES} bytes")
        if max(line.count(b".") for line in content.split(b"\n")) > _MOST_DOTS:
            raise ValueError("keys nested too deeply")  # tomllib would take minutes
        # Some editors write a byte order mark.
        return tomllib.loads(content.decode("utf-8-sig").replace("\r\n", "\n"))
    except (OSError, ValueError, RecursionError) as error:
        hint = f"see the examples in {Path(__file__).parent}"
        if isinstance(error, FileNotFoundError):
            raise ConfigError("The configuration file does not exist.", where=str(path), hint=hint) from error
        got = (error.strerror or "") if isinstance(error, OSError) else str(error)
        got = "values nested too deeply" if isinstance(error, RecursionError) else got
        raise ConfigError("This is not a readable TOML file.", where=str(path), got=got, hint=hint) from error


def _set_value(text: str, rule: Rule | None) -> object:
    """The value of a `--set` option. Text needs no quotes."""
    try:
        table = tomllib.loads(f"VALUE = {text}")
        value = table["VALUE"] if len(table) == 1 else text
    except (ValueError, RecursionError):
        return text
    is_text = rule is not None and rule.types == (str,)
    return text if is_text and not isinstance(value, str) else value


def _rules(cls: type[Config]) -> dict[str, Rule]:
    """The rule of each key."""
    hints = get_type_hints(cls, include_extras=True)
    return {field.name.upper(): get_args(hints[field.name])[1] for field in fields(cls)}


def parse_config(table: Mapping[str, object], cls: type[AnyConfig], source: str) -> AnyConfig:
    """Check a table of keys.

    Args:
        table: Values by TOML key.
        cls: The configuration's class.
        source: The table's origin, for the error.

    Raises:
        ConfigError: Keys are unknown or missing, or values are wrong. The error names every problem.
    """
    rules = _rules(cls)
    unknown = [key for key in table if key not in rules]
    problems = [_unknown(key, list(rules)) for key in unknown[:_MOST_UNKNOWN]]
    if len(unknown) > _MOST_UNKNOWN:
        problems.append(f"and {counted(len(unknown) - _MOST_UNKNOWN, 'more unknown key')}")
    values: dict[str, Any] = {}
    for field in fields(cls):
        key = field.name.upper()
        rule, value = rules[key], table.get(key, field.default)
        if key not in table and value is not MISSING:
            values[field.name] = value
        elif rule.accepts(value):
            values[field.name] = rule.convert(value)
        else:
            problems.append(f"{_stated(field.name, value)}: expected {rule.expected}")
    for names, holds, expected in cls.relations:
        related = {name: values[name] for name in names if name in values}
        if len(related) == len(names) and not holds(*related.values()):
            first, *rest = (_stated(name, value) for name, value in related.items())
            problems.append(f"{first}: expected {expected}" + (f" ({', '.join(rest)})" if rest else ""))
    if problems:
        what = "\n    ".join(["The configuration has errors:", *problems])
        raise ConfigError(what, where=source, hint="correct these keys; --help explains each")
    return cls(**values)


def as_keys(config: Config) -> dict[str, object]:
    """All values by TOML key, in types that JSON preserves."""
    values = {field.name.upper(): getattr(config, field.name) for field in fields(config)}
    return json.loads(json.dumps(values, default=str))


def _unknown(key: str, keys: list[str]) -> str:
    shown = key[:_MOST_LETTERS]
    return f"{shown}: unknown key; the nearest key is {difflib.get_close_matches(shown.upper(), keys, 1, 0)[0]}"


def _stated(name: str, value: object) -> str:
    if value is MISSING or value is None:
        return f"{name.upper()} is missing"
    return f"{name.upper()} = {_shown(value):.{_MOST_LETTERS}}"


def _shown(value: object) -> str:
    try:
        return json.dumps(value, default=str, ensure_ascii=False)
    except (ValueError, RecursionError):  # numbers of thousands of digits, deeply nested values
        return "(too long to show)"


def describe_keys(cls: type[Config]) -> str:
    """The keys of a configuration for --help, one per line: name, meaning, accepted values and default."""
    rules = _rules(cls)
    lines = []
    for field in sorted(fields(cls), key=lambda field: field.default is not MISSING):
        default = f", default {_shown(field.default)}" if field.default not in (MISSING, None, "") else ""
        required = "required; " if field.default is MISSING else ""
        lines.append(f"  {field.name.upper()}\n      {field.metadata['meaning']}")
        lines.append(f"      ({required}{rules[field.name.upper()].expected}{default})")
    return "\n".join(lines)
