"""The dashboard: what the system does, as frames over a WebSocket and as JSON for the pages' scripts."""
