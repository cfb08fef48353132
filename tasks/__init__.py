"""What backbones are for: one subpackage a task, beside what all tasks share."""
