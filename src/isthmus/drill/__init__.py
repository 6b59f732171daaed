"""Drills: take a real region away under a real fleet, and measure from outside."""
