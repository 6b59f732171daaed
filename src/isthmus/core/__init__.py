"""What decides: pure values and functions; time and chance are arguments."""
