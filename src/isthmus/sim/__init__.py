"""The simulator: a whole system on one thread, from one seed, trying to break its promises.

The pure core decides here exactly what it decides in a real region; the shells around it are
replaced by a queue of events in simulated time (``world``), a network that loses, delays, doubles
and reorders (``network``), and disks that forget (``store``). From a seed comes a plan (``plan``):
who is there, what operators and devices do, and which faults strike. While it runs, ``watch`` knows
everything that happened and holds each promise of docs/correctness.md against it.

No line of the core knows that it is simulated, and nothing here reads a clock or any chance but the
seed's: the same seed is the same run, byte for byte, on any machine.
"""
