"""What failed: dead letters, how they are recorded, looked at and replayed."""
