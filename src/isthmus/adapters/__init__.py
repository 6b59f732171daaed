"""What talks to the outside world: one port each."""
