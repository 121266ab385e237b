"""Which of Python's audit events turn to another machine; what the C code of a library dials goes unnoticed."""

HERE = ("127.0.0.1", "localhost", "::1", "", None)


def dialled(event: str, arguments: tuple[object, ...]) -> str | None:
    """The machine outside this one that an event connects or sends to, or looks up."""
    if event in ("socket.getaddrinfo", "socket.gethostbyname"):
        place = arguments[0]
    elif event in ("socket.connect", "socket.sendto") and isinstance(arguments[1], tuple):  # not a file's socket
        place = arguments[1][0]
    else:
        return None
    return None if place in HERE else str(place)
