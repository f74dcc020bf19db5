"""The door: `python -m nla COMMAND`, see nla/commands."""

import sys

from nla.commands.main import main

if __name__ == "__main__":
    sys.exit(main())
