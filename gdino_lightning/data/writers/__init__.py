"""The formats that datasets are written in: each is a `Writer`."""
