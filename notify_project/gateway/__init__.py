"""The web server: Daphne, with limits on what a client may send, how slowly, and how little of its answers it may read.

Started as `python -m notify_project.gateway -b 127.0.0.1 -p 8000`, with Daphne's own options. docs/limits.md has every
limit in one table.
"""
