"""How the two hot tables are kept: what Django's models cannot say."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("notifications", "0001_initial")]

    operations = [
        migrations.RunSQL(
            # Every event updates an inbox row and every mark-read a notification row, neither of them an indexed
            # column: with room left in the page the new version stays beside the old one, and no index is touched.
            """
            ALTER TABLE notifications_inbox SET (fillfactor = 70);
            ALTER TABLE notifications_notification SET (fillfactor = 90);
            """,
            reverse_sql="""
            ALTER TABLE notifications_inbox RESET (fillfactor);
            ALTER TABLE notifications_notification RESET (fillfactor);
            """,
        ),
        migrations.RunSQL(
            # Django adds an index for LIKE to a textual primary key. Under the collation "C" the key itself serves
            # LIKE, so that one would only cost every new recipient a second insert.
            """
            DO $$
            DECLARE name text;
            BEGIN
                SELECT indexname INTO name FROM pg_indexes
                WHERE schemaname = current_schema AND tablename = 'notifications_inbox' AND indexname LIKE '%_like';
                IF name IS NOT NULL THEN EXECUTE format('DROP INDEX %I', name); END IF;
            END $$
            """,
            reverse_sql=migrations.RunSQL.noop,
        ),
    ]
