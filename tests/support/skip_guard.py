"""pytest plugin: where CI is set, a skipped test fails the session unless it needs what CI does not have."""

import os
from collections.abc import Generator

import pytest

MAY_SKIP = ("gpu", "hub", "shared")  # markers of tests that a machine may be unable to run


class SkipGuard:
    """Collects the names of tests that were skipped without leave."""

    def __init__(self) -> None:
        self._names: list[str] = []

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Write the leave into the report, which reaches the main process also from worker processes."""
        report = yield
        report.may_skip = any(item.get_closest_marker(name) for name in MAY_SKIP)
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and not report.may_skip and not hasattr(report, "wasxfail"):  # that one has run
            self._names.append(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:  # a whole module, whose markers nobody knows
            self._names.append(report.nodeid)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._names and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._names:
            terminalreporter.section(f"skipped on CI without one of the markers {', '.join(MAY_SKIP)}", red=True)
            for name in self._names:
                terminalreporter.line(name)


def pytest_configure(config: pytest.Config) -> None:
    if os.environ.get("CI"):
        config.pluginmanager.register(SkipGuard())
