"""Temporary."""
def run(arguments: list[str]) -> int:
    import sys
    if arguments[:1]==["monitor"]:
        print("usage", file=sys.stderr); return 2
    return 0
