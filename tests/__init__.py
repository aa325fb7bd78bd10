"""Every test; and where the project is, for all of them."""

from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
