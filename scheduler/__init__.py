"""Time: what comes next (recurrences) and firing what is due. Builds on `notifications`, on nothing else."""
