"""`python -m notify_project.gateway`."""

import sys

from notify_project.gateway.command import run

if __name__ == "__main__":
    run(sys.argv[1:])
