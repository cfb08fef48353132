"""Base LightningModule, schedules, parameter groups, mixing and compiling, shared by the tasks."""
