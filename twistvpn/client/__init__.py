"""The client: which server to try, what it pushes, and how that becomes addresses and routes."""
