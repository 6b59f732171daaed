"""Local regions: real processes on loopback addresses, for `isthmus up` and `isthmus drill`."""
