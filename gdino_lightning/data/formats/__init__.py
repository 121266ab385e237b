"""The formats that datasets come in: each is a `Source`."""
