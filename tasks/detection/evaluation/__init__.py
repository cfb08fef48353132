"""Average precision, confusions, and what an evaluated image holds."""
