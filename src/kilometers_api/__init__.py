"""The team server that keeps what many km send."""
