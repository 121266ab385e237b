"""The interactive page: what it does (session), how it looks (page), how it is served (server)."""
