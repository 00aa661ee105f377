"""The API's own description: OpenAPI 3.1, made of the structs that read and write what it describes.

Each app describes its operations in a table (`OPERATIONS`, named in `settings.NOTIFY_API_DESCRIBED_IN`).
drf-spectacular walks the addresses, so that none is left out; what an operation says of itself is looked up by method
and path.
"""
