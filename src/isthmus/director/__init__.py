"""One site: its observer, its director, its nameserver and the mesh between the sites."""
