"""What the exit codes mean; they are rclone's where rclone has them."""

from typing import Final

OK: Final = 0
"""All that was asked for is done."""
OTHER: Final = 1
"""Something went wrong that none of the others names."""
USAGE: Final = 2
"""The command line was not understood."""
TEMPORARY: Final = 5
"""Some jobs failed in a way that may pass: trying them again may help."""
JOBS_FAILED: Final = 6
"""Some jobs failed for good: trying them again will not help."""
FATAL: Final = 7
"""Nothing could be begun or gone on with: the configuration, or the brokers."""
INTERRUPTED: Final = 130
"""Stopped from the keyboard."""
