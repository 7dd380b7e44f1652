"""The local side: roots and what may not leave them, files on their way in, the flush of a batch."""
