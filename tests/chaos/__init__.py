"""`make chaos`: numbered events through a deployment that is killed, stopped and frozen at random (docs/chaos.md)."""
