"""Parametrises the conformance tests over what the folder of vectors holds.

A test that names one of these arguments runs once for each: `user` (histories), `sample_user` (users with rows of the
whole history), `segment_user` (users with rows in segments), `key_set` (files of keys), `model_file` (files of the
network's outputs), `leading_query_file` (files of rows whose streams start with queries).
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conformance import model_vectors
from tests.conformance import vectors as files


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    folder = files.vectors_folder()
    for name, list_values in (
        ("user", files.users),
        ("sample_user", files.sample_files),
        ("segment_user", files.segment_files),
        ("key_set", files.key_files),
        ("model_file", model_vectors.model_files),
        ("leading_query_file", model_vectors.leading_query_files),
    ):
        if name in metafunc.fixturenames:
            values = list(list_values(folder))
            metafunc.parametrize(name, values, ids=[_test_id(value) for value in values])


def _test_id(value: object) -> str:
    if isinstance(value, Path):
        return value.stem
    return value if isinstance(value, str) else f"user{value}"


@pytest.fixture(scope="session")
def vectors() -> Path:
    """The folder of the conformance vectors: RWKV_CONFORMANCE, or tests/golden where that is absent."""
    return files.vectors_folder()


@pytest.fixture
def differences(request: pytest.FixtureRequest) -> Callable[[str, float], None]:
    """Call `differences(group, value)` for each comparison; the end of the run tells the largest value by group."""

    def record(group: str, value: float) -> None:
        request.node.user_properties.append(files.as_property(group, value))

    return record
