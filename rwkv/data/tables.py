"""Tables of columns: the files of a folder in the dataset's layout, and checks of their values.

A file is parquet, or the packed form of rwkv.data.column_file, which needs no further package.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from rwkv.arrays import Bools, Floats, Ints
from rwkv.errors import HistoryError
from rwkv.extras import missing_package
from rwkv.plurals import counted

# Values by column name; masked ones are missing.
Columns = Mapping[str, npt.NDArray[Any]]

PARQUET, PACKED = ".parquet", ".columns"

Form = Literal["integer", "real", "text", "flag", "null", "other"]


@dataclass(frozen=True)
class Column:
    """A column of a file.

    Attributes:
        form: The kind of the values; "null" if all are missing, "other" for values that no table here has.
        type_name: The file's own name of the type, for messages.
        values: int64, float64, bool or str objects [n], by the form; any value where one is missing.
        missing: bool [n].
    """

    form: Form
    type_name: str
    values: npt.NDArray[Any]
    missing: Bools


def write_columns(path: Path, columns: Columns) -> None:
    """Write a file atomically, in the format of its ending."""
    _format_of(path).write_columns(path, columns)


def read_file(file: Path, where: str, names: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, Column]:
    """The columns of one file: all of `names`, and those of `optional` that it has.

    Raises:
        HistoryError: The file cannot be read, or a column is missing or occurs twice.
    """
    return _format_of(file).read_file(file, where, names, optional)


def table_files(folder: Path) -> list[Path]:
    """The files of a table, in order. There may be several."""
    return sorted(path for path in folder.glob("*") if path.suffix in (PARQUET, PACKED))


def read_columns(root: Path, kind: str, user: int, names: tuple[str, ...]) -> dict[str, Column] | None:
    """The named columns of all files of a user, or None without files. Raises the errors of `read_file`."""
    folder = root / kind / f"user_id={user}"
    files = table_files(folder)
    if not files:
        return None
    tables = [read_file(file, f"user {user}, {file}", names) for file in files]
    return {name: _joined([table[name] for table in tables], name, f"user {user}, {folder}") for name in names}


def integers(column: Column, name: str, where: str) -> Ints:
    """The int64 values of a column of any number type. Raises HistoryError for missing or fractional values."""
    values, missing = numbers(column, name, where)
    _check_whole(missing, name, where)
    return values


def numbers(column: Column, name: str, where: str) -> tuple[Ints, Bools]:
    """The int64 values of a column, 0 where missing, and a mask of the missing ones."""
    _check_form(column, name, where, "integer", "real", what="a number", expected="integers")
    if column.form != "real":
        return np.where(column.missing, 0, column.values).astype(np.int64), column.missing
    floats = np.where(column.missing, 0, column.values)
    if not np.all(np.isfinite(floats) & (floats == np.rint(floats)) & (np.abs(floats) < 2**63)):
        raise HistoryError(f"Column {name} has values that are not integers.", where=where)
    return floats.astype(np.int64), column.missing


def reals(column: Column, name: str, where: str) -> Floats:
    """The float64 values of a column of any number type; NaN where missing."""
    _check_form(column, name, where, "integer", "real", what="a number", expected="numbers")
    values = np.where(column.missing, np.nan, column.values.astype(np.float64))
    if np.isinf(values).any():
        raise HistoryError(f"Column {name} has values that are not finite.", where=where)
    return values


def texts(column: Column, name: str, where: str) -> npt.NDArray[np.object_]:
    """The texts of a column. Raises HistoryError for missing values."""
    _check_form(column, name, where, "text", what="text", expected="texts")
    _check_whole(column.missing, name, where)
    return column.values.astype(object)


def flags(column: Column, name: str, where: str) -> Bools:
    """The values of a boolean column. Raises HistoryError for missing values."""
    _check_form(column, name, where, "flag", what="true or false", expected="bool")
    _check_whole(column.missing, name, where)
    return column.values.astype(bool)


def _format_of(path: Path) -> Any:
    """The module that reads and writes files with this ending."""
    if path.suffix == PACKED:
        from rwkv.data import column_file

        return column_file
    try:
        from rwkv.data import arrow  # loads pyarrow, which not every installation has
    except ModuleNotFoundError as error:
        raise missing_package("pyarrow", "A parquet file") from error
    return arrow


def _check_form(column: Column, name: str, where: str, *forms: Form, what: str, expected: str) -> None:
    if column.form not in (*forms, "null"):
        raise HistoryError(f"Column {name} is not {what}.", where=where, got=column.type_name, expected=expected)


def _check_whole(missing: Bools, name: str, where: str) -> None:
    if missing.any():
        values, row = counted(int(missing.sum()), "missing value"), int(np.argmax(missing)) + 1
        raise HistoryError(f"Column {name} has {values}.", where=f"{where}, row {row}")


def _joined(columns: list[Column], name: str, where: str) -> Column:
    """The parts of a column in one. Integers and real numbers may be mixed."""
    if len(columns) == 1:
        return columns[0]
    forms = {column.form for column in columns} - {"null"}
    if len(forms) > 1 and forms != {"integer", "real"}:
        got = ", ".join(column.type_name for column in columns)
        raise HistoryError(f"Column {name} has several types.", where=where, got=got, expected="one type in all files")
    form: Form = "real" if "real" in forms else next(iter(forms), "null")
    # Of a part without values, only the mask counts.
    values = np.concatenate([np.empty(0, _dtype(form)), *(_as(column, form) for column in columns)])
    return Column(form, columns[0].type_name, values, np.concatenate([column.missing for column in columns]))


def _as(column: Column, form: Form) -> npt.NDArray[Any]:
    return np.zeros(len(column.missing), _dtype(form)) if column.form == "null" else column.values


def _dtype(form: Form) -> npt.DTypeLike:
    return {"integer": np.int64, "real": np.float64, "flag": bool, "null": np.int64}.get(form, object)


def lacking_columns(names: Iterable[str], present: Iterable[str], where: str) -> None:
    """Raise HistoryError if a name is not present."""
    present = list(present)
    lacking = [name for name in names if name not in present]
    if lacking:
        raise HistoryError(f"A column is missing: {', '.join(lacking)}.", where=where, got=", ".join(present))
