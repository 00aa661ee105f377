"""What `manage.py up` stands on: private servers, the processes beside them, and what keeps them running.

Nothing in here knows Django, so that the tests can start the servers before Django reads its settings.
"""
