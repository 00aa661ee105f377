"""What failed: dead letters, their record and their replay. Builds on `notifications`, on nothing else."""
