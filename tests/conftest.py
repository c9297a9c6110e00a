"""Settings of all tests, and the closing summary of the conformance tests."""

import os
import signal
from collections.abc import Generator

import pytest
from hypothesis import settings

from tests.conformance import vectors

# Tests run side by side in several processes, and start others: more threads than one each would fight for the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Tests that a shell runs in the background are told to ignore Ctrl-C, which some of them send to themselves.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("rwkv", max_examples=40, deadline=None, derandomize=True)
settings.load_profile("rwkv")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Reports travel between processes as UTF-8, also those of what was logged of names that are none."""
    report = yield
    report.sections = [(title, text.encode(errors="replace").decode()) for title, text in report.sections]
    return report


def pytest_terminal_summary(terminalreporter: "pytest.TerminalReporter") -> None:
    """How far we are from the vectors, and a loud notice where only the small subset was there."""
    reports = [
        report
        for category in ("passed", "failed")
        for report in terminalreporter.stats.get(category, [])
        if isinstance(report, pytest.TestReport) and report.when == "call" and "conformance/" in report.nodeid
    ]
    if not reports:
        return
    folder = vectors.vectors_folder()
    terminalreporter.section("conformance")
    terminalreporter.write_line(f"vectors: {folder}")
    properties = [entry for report in reports for entry in report.user_properties]
    for group, (count, largest) in vectors.gather_differences(properties).items():
        terminalreporter.write_line(f"{group:<32} {count:>6} comparisons, largest difference {largest:.3g}")
    if folder == vectors.GOLDEN:
        terminalreporter.write_line(
            f"NOTICE: the full vectors were not found at {vectors.wanted_folder()}; only the small subset in "
            f"tests/golden was compared. Set {vectors.VARIABLE} to their folder.",
            yellow=True,
            bold=True,
        )
