"""`manage.py doctor`: is this deployment fit for production, and if not, what mends it?

Each module looks at one thing: `gather` asks (the only part that touches anything), and each check is a short function
of what was found, with one finding or none.
"""
