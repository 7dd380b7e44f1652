"""The command line: one module a command group.

A group is an ``App`` called ``app`` in a module of its own, and one line of ``GROUPS`` in `pooler.cli.main`;
a single command is a function, and one line as well. The module is imported when the command is given, not
before. A command returns its exit code, or None for `pooler.cli.exits.OK`. Data goes to stdout, all else to
stderr.
"""
