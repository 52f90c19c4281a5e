"""Connections, schema, statements, binary COPY and the embedded server."""
