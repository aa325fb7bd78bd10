"""What the user can mend."""


class AnalysisError(Exception):
    """Something the user can mend; the message says what and how."""
