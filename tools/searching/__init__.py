"""Architecture search: space, zero-cost proxies, successive halving, and the record of trials."""
