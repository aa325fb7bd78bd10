"""Errors that the user can correct."""


class AnalysisError(Exception):
    """An error that the user can correct; the message says what and how."""
