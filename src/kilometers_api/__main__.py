"""The entry of `kilometers-api`."""

import sys


def main() -> int:
    """Say that there is no server yet, and fail."""
    sys.stderr.write("kilometers-api: the API server is not part of this version yet\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
