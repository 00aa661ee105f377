"""One into many: bulk jobs and their fan-out into the bulk lane. Builds on `notifications`, on nothing else."""
