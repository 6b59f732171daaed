"""The services of one region, apart from its gateways: replicator, alone keeper, lake, API."""
