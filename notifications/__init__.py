"""The core: an event comes in, a notification is in the inbox, its reader knows."""
