"""An index on a table that may be large: built while others write to it."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ('notifications', '0005_erasure'),
    ]

    operations = [
        AddIndexConcurrently(
            model_name='inbox',
            index=models.Index(condition=models.Q(('erased_ms__isnull', False)), fields=['erased_ms'], name='inbox_erased'),
        ),
    ]
