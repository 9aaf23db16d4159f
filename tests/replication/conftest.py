"""Helpers of one folder of tests that others use too."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent / "data"))
