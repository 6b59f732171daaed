"""Queries of the fleet index: what one says, what it matches, and which list has all that it may.

The language is that of AWS IoT (developer guide, "Query syntax"), as Lucene's. A list that has all
that a query may match is read in its order, and each of it is matched: so a page costs what it
looks at, and nothing but the lists that are there anyway has to be kept.
"""
