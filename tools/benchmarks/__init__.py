"""What `vertebra benchmark` times: ours beside the peers' own networks."""
