"""API keys in PostgreSQL: what is known of a key, never the key."""

from django.db import models


class ApiKey(models.Model):
    """A producer's key. Only its SHA-256 is kept: the key itself has 190 random bits, which no one guesses."""

    name = models.CharField(max_length=100, help_text="Who uses it, for the people who manage keys.")
    prefix = models.CharField(max_length=16, editable=False, help_text="How the key begins, to recognise it by.")
    digest = models.CharField(max_length=64, unique=True, editable=False)
    scopes = models.JSONField(default=list, help_text="What it may do: send, read, manage.")
    rate = models.CharField(max_length=32, default="1000/s", help_text="Events it may send, such as 1000/s.")
    created_at = models.DateTimeField(auto_now_add=True)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        verbose_name = "API key"
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"
