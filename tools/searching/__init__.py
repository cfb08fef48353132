"""Architecture search: space, zero-cost proxies, successive halving, evolution, and the record of trials."""
