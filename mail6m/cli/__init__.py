"""``mail6m``: the operator's commands, beside a running server or without one.

Exit status: 0 done, 1 refused or not found (one line on standard error), 2 wrong usage.
"""

from mail6m.cli.command_line import parser
from mail6m.cli.program import main

__all__ = ["main", "parser"]
