"""Everything that knows Redis: keys, client, scripts, and the reader's and the writer's side of the streams."""
