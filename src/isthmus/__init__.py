"""Isthmus: a multi-region IoT core with disaster recovery built in.

General layout, and the one direction in which imports go (tests/unit/test_imports.py):

    core, wire   pure: no I/O, no clock, no randomness, no asyncio; they import only each other
    aws          what AWS's clients may ask for, from its models; pure too, imports core and wire
    ports        Protocols that the services need; imports core and wire
    adapters     one port each; import core, wire and ports
    gateway, aws_server, region, director, device
                 thin services around the core; import core, wire, ports (and adapters to build)
    local, fleet, drill, bench, cli
                 join services to adapters, start them, load them, take them away
"""

__version__ = "0.1.0"
