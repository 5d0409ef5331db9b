"""How many bad inputs of each kind the tests try, as a Markdown table.

python -m benchmarks.bad_input
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

TESTS = sorted((Path(__file__).parents[1] / "tests").glob("test_hostile_*.py"))


class Table:
    """Adds up what the tests counted."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take the counts of a test that passed."""
        if report.when == "teardown" and report.passed:
            self.counts.update({str(kind): int(str(n)) for kind, n in report.user_properties})

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Print the table below pytest's own report."""
        lines = [f"| {kind} | {number:,} |" for kind, number in sorted(self.counts.items())]
        lines += [f"| in all | {sum(self.counts.values()):,} |"]
        for line in ("| bad input | tried |", "|---|---|", *lines):
            terminalreporter.write_line(line)


if __name__ == "__main__":
    sys.exit(pytest.main([*map(str, TESTS), "-q", *sys.argv[1:]], plugins=[Table()]))
