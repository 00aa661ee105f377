from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('notifications', '0004_attempt'),
    ]

    operations = [
        migrations.CreateModel(
            name='Dropped',
            fields=[
                ('id', models.UUIDField(editable=False, primary_key=True, serialize=False)),
                ('at', models.DateTimeField(db_index=True)),
            ],
            options={
                'verbose_name_plural': 'dropped',
            },
        ),
        migrations.AddField(
            model_name='inbox',
            name='erased_ms',
            field=models.BigIntegerField(editable=False, null=True),
        ),
    ]
