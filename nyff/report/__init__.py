"""Self-contained HTML reports of run folders, and the figures they are made of."""

from __future__ import annotations

from nyff.report.page import render_report, write_report, write_training_report

__all__ = ["render_report", "write_report", "write_training_report"]
