"""What can go wrong that a user can mend; anything else is our bug."""

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_OUR_BUG = 3
EXIT_CANNOT_BEGIN = 125
EXIT_NOT_EXECUTABLE = 126
EXIT_NOT_FOUND = 127
EXIT_INTERRUPTED = 130


class KilometersError(Exception):
    """Something a user can fix: a sentence that names the thing, then the next step."""

    def __init__(self, message: str, hint: str = "", *, exit_status: int = EXIT_FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_status = exit_status

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()
