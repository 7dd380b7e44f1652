"""What the operator wrote, read and checked: config.yaml, connections.ini, the environment.

`load` is the way in; `pooler.config.settings` and `pooler.config.remotes` have the values that it returns.
"""

from pooler.config.load import Configuration, load

__all__ = ["Configuration", "load"]
